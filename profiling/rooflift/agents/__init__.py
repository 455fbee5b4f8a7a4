"""The door for agents: tools, resources and prompts of a project over the Model Context Protocol, and a skill file."""
