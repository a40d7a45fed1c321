"""Slack: slack-bolt's AsyncApp in front of the core, over Socket Mode or HTTP."""
