"""Making model folders: without torch, so that a stage that copies files takes no time."""
