"""What can be changed while a node runs, and what cannot."""

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros_nodes.params import CommandParameters, SimParameters, declare_parameters
from ros_nodes.transport import free_domain_id, transport_environment


@pytest.fixture
def node(monkeypatch):
    domain_id = free_domain_id()
    # Fast DDS reads its profiles once in a process: the tests after this one need them too.
    for name, value in transport_environment(domain_id).items():
        monkeypatch.setenv(name, value)
    context = Context()
    rclpy.init(args=[], context=context, domain_id=domain_id)
    node = Node("test", context=context, automatically_declare_parameters_from_overrides=True)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.mark.parametrize(("name", "value"), [("shadow", True), ("speed_scale", 0.1)])
def test_a_change_that_would_have_no_effect_is_refused(node, name, value):
    declare_parameters(node, CommandParameters)
    (answer,) = node.set_parameters([Parameter(name, value=value)])
    assert not answer.successful
    assert "read-only" in answer.reason
    assert node.get_parameter(name).value == getattr(CommandParameters(), name)


def test_a_parameter_that_is_read_anew_can_be_changed(node):
    declare_parameters(node, SimParameters)
    assert node.set_parameters([Parameter("seed", value=7)])[0].successful
    assert node.get_parameter("seed").value == 7
