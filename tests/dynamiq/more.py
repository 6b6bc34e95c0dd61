"""Writes more/NAME.json, the reference's results of more/NAME.yaml, for the given names (without names, for all); also agents/NAME.

A case's first lines are comments: its input, the script of its model, and optionally either the answers of people by node, or
the names of files, which become the input's `files`. Run it with the reference's interpreter.
"""
import glob, json, logging, os, sys
here = os.path.dirname(os.path.abspath(__file__)); sys.path.insert(0, os.path.join(here, "..", "llm"))
os.environ.update(LITELLM_LOG="ERROR", LITELLM_LOCAL_MODEL_COST_MAP="True"); logging.disable(logging.CRITICAL)
import warnings; warnings.simplefilter("ignore")
from stub import Stub
stub = Stub([]); os.environ.update(STUB_URL=stub.url, STUB_ROOT=stub.root)
from queue import Queue
from dynamiq import Workflow
from dynamiq.runnables import RunnableConfig
from dynamiq.runnables.base import NodeRunnableConfig
from dynamiq.types.streaming import StreamingConfig
from dynamiq.utils.utils import JsonWorkflowEncoder
from io import BytesIO
class Encoder(JsonWorkflowEncoder):
    def default(self, value):
        try: return super().default(value)
        except TypeError: return None  # files in inputs; no test compares them
def opened(name):
    with open(os.path.join(here, "files", name), "rb") as file: opened = BytesIO(file.read())
    opened.name = name
    return opened
names = sys.argv[1:] or [os.path.basename(path)[:-5] for path in sorted(glob.glob(os.path.join(here, "more", "*.yaml")))]
def answering(node, data):
    queue, event = Queue(), "approval" if "content" not in data else "streaming"
    queue.put(json.dumps({"entity_id": node, "event": event, "data": data}))
    return NodeRunnableConfig(streaming=StreamingConfig(enabled=True, event=event, input_queue=queue, input_queue_poll_interval=0.2, timeout=10))
for name in names:
    path = os.path.join(here, *([name] if "/" in name else ["more", name]))
    with open(path + ".yaml") as file: first, second, third = file.readline(), file.readline(), file.readline()
    stub.script = json.loads(second.split("script:", 1)[1]); stub.requests = []; stub.n = 0
    workflow = Workflow.from_yaml_file(path + ".yaml", init_components=True)
    people = json.loads(third.split("people:", 1)[1]) if third.startswith("# people:") else {}
    config = RunnableConfig(nodes_override={node: answering(node, data) for node, data in people.items()})
    given = json.loads(first.split("input:", 1)[1])
    if third.startswith("# files:"): given["files"] = [opened(file) for file in json.loads(third.split("files:", 1)[1])]
    result = workflow.run_sync(given, config)
    shown = {"status": result.status.value, "output": result.output, "error": result.error.to_dict() if result.error else None,
             "llm_requests": stub.requests}
    with open(path + ".json", "w") as file:
        file.write(json.dumps(shown, cls=Encoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    print(name, shown["status"], flush=True)
os._exit(0)
