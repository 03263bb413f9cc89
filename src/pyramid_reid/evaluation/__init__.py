"""From distance files to reported figures and pictures."""
