"""A server of the Model Context Protocol for the tests: mcp_server.py TRANSPORT PORT."""
import sys
from mcp.server.fastmcp import Context, FastMCP
server = FastMCP("test", host="127.0.0.1", port=int(sys.argv[2]), log_level="ERROR")
@server.tool()
def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b
@server.tool(structured_output=False)
def greet(name: str) -> str:
    """Greets a person."""
    return f"Hello {name}"
@server.tool()
def fail() -> str:
    """Always fails."""
    raise ValueError("it is broken")
@server.tool(structured_output=False)
async def header(name: str, context: Context) -> str:
    """Returns a header of the request."""
    await context.info("looking")
    return context.request_context.request.headers.get(name, "none")
server.run(transport=sys.argv[1])
