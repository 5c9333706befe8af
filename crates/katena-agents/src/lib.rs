//! Agents for Katena: the tool loop, tools, plans, hand-over, MCP.
