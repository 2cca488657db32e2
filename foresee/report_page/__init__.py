"""The page that `foresee report` writes: what a model learned, looked at with a sceptic's eye."""
