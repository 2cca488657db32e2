"""The sub-commands of `foresee`: one dataclass each, its fields are the options.

Heavy packages (torch, PyBullet, rclpy) are imported by the command that needs them, so that
`foresee --help` is quick and a robot needs only what it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from controller.config import AgentConfig, load_agent_config
from controller.configurator import TaskConfig, load_task
from foresee.critic_commands import TrainCritic
from foresee.data_commands import DATA_COMMANDS, Data
from foresee.errors import UsageError
from foresee.export_command import Export
from foresee.replay_commands import Replay
from foresee.report_command import Report
from foresee.train_commands import Pretrain, Train
from world_model.bundle import agent_settings
from world_model.runtime import FULL_PRECISION, Provider

if TYPE_CHECKING:
    from sim.randomization import Randomization

REACH = "foresee/Reach-v0"
BUNDLES = Path(__file__).parent / "bundles"


def shipped_bundle(env: str) -> Path:
    """The bundle that comes with foresee for an environment.

    Raises:
        UsageError: there is none.
    """
    path = BUNDLES / env.rsplit("/", 1)[-1]
    if not path.is_dir():
        known = ", ".join(sorted(f"foresee/{p.name}" for p in BUNDLES.glob("*") if p.is_dir()))
        raise UsageError(
            f"no bundle is shipped for {env!r} (there are: {known or 'none'}); train one and give "
            "it with --bundle"
        )
    return path


def _task(task: Path | None, agent: Path | None, bundle: Path) -> TaskConfig:
    return TaskConfig(agent=agent_config(agent, bundle)) if task is None else load_task(task)


def _randomization(path: Path | None) -> Randomization | None:
    """What varies between episodes, by a YAML file; nothing without one.

    Raises:
        UsageError: it is not such a file.
    """
    from sim.randomization import Randomization

    try:
        return None if path is None else Randomization.from_yaml(path)
    except ValueError as error:
        raise UsageError(str(error)) from error


def agent_config(path: Path | None, bundle: Path) -> AgentConfig:
    """Settings of a file, else those that came with the bundle, else the defaults."""
    path = path or agent_settings(bundle)
    return AgentConfig() if path is None else load_agent_config(path)


@dataclass
class Collect:
    """Record scripted exploration of a simulated world as a data set (LeRobotDataset v3)."""

    out: Path
    """New folder for the data set."""
    env: str = REACH
    """World to record."""
    frames: int = 30_000
    """Camera frames to record, in whole episodes."""
    episode_frames: int = 100
    """Frames in one episode."""
    image_size: int = 64
    """Side of the square camera image in pixels, a multiple of 16."""
    randomization: Path | None = None
    """YAML file of what varies between episodes (see config/randomization.yaml)."""
    cameras: tuple[str, ...] = ("scene",)
    """Cameras of the world to record; the worlds with an arm have scene and front."""
    workers: int = 0
    """Processes; 0 takes one for each core."""
    seed: int = 0
    """The same seed gives the same data set."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Record."""
        from foresee.collect import Recording, collect

        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise UsageError("--cameras needs at least one camera, each once")
        recording = Recording(
            self.env,
            self.image_size,
            self.episode_frames,
            self.seed,
            _randomization(self.randomization),
            self.cameras,
        )
        return collect(recording, self.frames, self.out, self.workers)

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        print(
            f"{summary['frames']} frames in {summary['episodes']} episodes, "
            f"{summary['wall_s']:.0f} s ({summary['frames_per_s']:.0f} frames/s): {summary['out']}"
        )


@dataclass
class Run:
    """Let the agent act on goal images: in this process, or with --ros as ROS 2 nodes."""

    env: str = REACH
    """World to act in."""
    bundle: Path | None = None
    """Model; by default the one shipped for the environment."""
    agent: Path | None = None
    """YAML file of the controller's settings (see config/agent.yaml); by default those that came
    with the bundle."""
    task: Path | None = None
    """YAML file of a task: settings, model and goals (see config/task.yaml); --ros takes all but
    its goals."""
    log: Path | None = None
    """New file for the inputs of every plan (MCAP), for `foresee replay`; --ros always has one."""
    goals: int = 3
    """Goals to reach, one after the other."""
    ros: bool = False
    """Run sim, agent and command nodes as ROS 2 processes in real time."""
    out: Path | None = None
    """With --ros: folder for logs and the recorded bag (default runs/run/<time>)."""
    image_size: int = 64
    """Side of the square camera image in pixels."""
    provider: Provider = "auto"
    """ONNX Runtime execution provider."""
    variant: str = FULL_PRECISION
    """Precision of the rollouts: fp32, or a faster one that the bundle has (int8)."""
    seed: int = 10_000
    """Seed of the first goal."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Act."""
        if self.out is not None and not self.ros:
            raise UsageError("--out is for --ros; without it --log records the plans")
        if self.log is not None and self.ros:
            raise UsageError("--log is for a run without --ros, which logs its plans in --out")
        if self.task is not None and self.agent is not None:
            raise UsageError("--task has the agent's settings in it; leave --agent away")
        bundle = self.bundle or shipped_bundle(self.env)
        if self.ros:
            from foresee.graph_run import GraphRun, run_graph

            if self.task is not None and load_task(self.task).goals:
                left = f"the goals of {self.task} are left out"
                print(f"foresee: --ros gives the world's goal images; {left}", file=sys.stderr)
            job = GraphRun(
                env_id=self.env,
                bundle=bundle,
                agent=self.agent,
                task=self.task,
                goals=self.goals,
                seed=self.seed,
                image_size=self.image_size,
                provider=self.provider,
                variant=self.variant,
                out=self.out,
            )
            return run_graph(job)
        from foresee.run import run

        return run(
            self.env,
            bundle,
            _task(self.task, self.agent, bundle),
            self.goals,
            self.seed,
            self.image_size,
            self.provider,
            self.variant,
            self.log,
        )

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        from foresee.report import table

        print(table(summary))
        if summary.get("task_goals"):
            print(
                f"Pursued were the goals of {self.task} ({summary['task_goals']}); start, end and "
                "what was reached are told of the world's own goal, not of them."
            )
        if summary.get("failed"):
            print(f"foresee: the graph failed: {summary['failure']}", file=sys.stderr)
        if self.ros:
            print(f"bag and logs: {summary['out']}")


@dataclass
class Eval:
    """Measure the success rate over many goals, beside floors that use no model."""

    env: str = REACH
    """World to act in."""
    bundle: Path | None = None
    """Model; by default the one shipped for the environment."""
    agent: Path | None = None
    """YAML file of the controller's settings (see config/agent.yaml); by default those that came
    with the bundle."""
    episodes: int = 100
    """Goals; episode i uses seed + i."""
    seed: int = 10_000
    """Seed of the first episode."""
    floors: bool = True
    """Judge doing nothing, random actions, a scripted policy and a straight line as well."""
    workers: int = 0
    """Processes; 0 takes one for each core."""
    image_size: int = 64
    """Side of the square camera image in pixels."""
    provider: Provider = "auto"
    """ONNX Runtime execution provider."""
    variant: str = FULL_PRECISION
    """Precision of the rollouts: fp32, or a faster one that the bundle has (int8)."""
    randomization: Path | None = None
    """YAML file of how the world's looks, friction and masses differ from the nominal ones (see
    config/randomization.yaml), in start and goal image alike; `exact: true` in it makes each
    difference as large as it may be. Starts and goals stay those of the seed."""
    subgoals: bool = True
    """Show the agent images of the stages before the goal too, where the world has them
    (PickPlace-v0)."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Evaluate."""
        from foresee.evaluate import Evaluation, evaluate

        bundle = self.bundle or shipped_bundle(self.env)
        job = Evaluation(
            env_id=self.env,
            bundle=bundle,
            agent=agent_config(self.agent, bundle),
            episodes=self.episodes,
            seed=self.seed,
            image_size=self.image_size,
            provider=self.provider,
            floors=self.floors,
            variant=self.variant,
            randomization=_randomization(self.randomization),
            subgoals=self.subgoals,
        )
        return evaluate(job, self.workers)

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        rows = {"agent": summary, **summary["floors"]}
        print(f"{'':10} success   95 % interval      final distance (median, p95)")
        for name, row in rows.items():
            low, high = row["ci95"]
            final = row["final_distance_m"]
            print(
                f"{name:10} {row['success_rate']:6.1%}   {low:6.1%} - {high:6.1%}   "
                f"{100 * final['median']:6.1f} cm {100 * final['p95']:6.1f} cm"
            )
            for also, rate in row["also"].items():
                low, high = rate["ci95"]
                print(
                    f"  {also.removeprefix('success_'):8} {rate['success_rate']:6.1%}   "
                    f"{low:6.1%} - {high:6.1%}"
                )
        plan = summary["plan_ms"]
        print(f"n = {summary['n']}; a plan takes {plan['p50']:.0f} ms (p99 {plan['p99']:.0f} ms)")


@dataclass
class Demo:
    """The main job end to end as ROS 2 nodes: five goal images, a table, a video, a bag.

    Exit status 1 when the graph failed.
    """

    env: str = REACH
    """World to act in."""
    bundle: Path | None = None
    """Model; by default the one shipped for the environment."""
    agent: Path | None = None
    """YAML file of the controller's settings (see config/agent.yaml); by default those that came
    with the bundle."""
    scratch: bool = False
    """Collect data, train and export a bundle first, instead of using the shipped one."""
    goals: int = 5
    """Goal images, one after the other."""
    out: Path | None = None
    """Folder for everything it writes (default runs/demo/<time>)."""
    provider: Provider = "auto"
    """ONNX Runtime execution provider."""
    seed: int = 10_000
    """Seed of the first goal; with --scratch the data and the training use seed 0."""
    json: Path | None = None
    """Write the summary here as well."""

    def run(self) -> dict[str, Any]:
        """Show it."""
        from foresee.demo import DemoJob, demo

        if self.scratch and self.bundle is not None:
            raise UsageError("--scratch makes a bundle; leave --bundle away, or --scratch")
        bundle = None if self.scratch else self.bundle or shipped_bundle(self.env)
        return demo(
            DemoJob(
                env_id=self.env,
                bundle=bundle,
                agent=self.agent,
                goals=self.goals,
                seed=self.seed,
                provider=self.provider,
                out=self.out,
            )
        )

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        from foresee.report import table

        print(table(summary))
        if summary["failed"]:
            print(f"foresee: the graph failed: {summary['failure']}", file=sys.stderr)
        print(f"video, plot, bag and summary: {summary['out']}")


@dataclass
class Info:
    """Say what a bundle or a data set holds, after checking it."""

    path: Annotated[Path, tyro.conf.Positional]
    """Bundle or data set folder."""
    json: Path | None = None
    """Write it here."""

    def run(self) -> dict[str, Any]:
        """Look."""
        from foresee.info import describe

        return describe(self.path)

    def say(self, summary: dict[str, Any]) -> None:
        """Print what it is."""
        from foresee.info import lines_of

        print("\n".join(lines_of(summary)))


Command = (
    Collect | Train | Pretrain | TrainCritic | Export | Run | Eval | Demo | Info | Report | Replay
)
COMMANDS: dict[str, Callable[..., Any]] = {
    "collect": Collect,
    "train": Train,
    "pretrain": Pretrain,
    "train-critic": TrainCritic,
    "export": Export,
    "run": Run,
    "eval": Eval,
    "demo": Demo,
    "info": Info,
    "report": Report,
    "replay": Replay,
    "data": Data,
}
# Commands that have sub-commands of their own: `foresee data export`.
GROUPS: dict[str, dict[str, Callable[..., Any]]] = {"data": DATA_COMMANDS}
