"""Where recordings come from: ROS bags, LeRobot data sets, folders of videos and images."""
