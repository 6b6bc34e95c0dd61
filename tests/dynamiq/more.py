"""Writes more/NAME.json, what the reference makes of more/NAME.yaml, for those named (all if none is).

A case's first lines are comments with its input and the script of its model; a third one may name files, which become the
input's `files`. Run with the reference's interpreter.
"""
import glob, json, logging, os, sys
here = os.path.dirname(os.path.abspath(__file__)); sys.path.insert(0, os.path.join(here, "..", "llm"))
os.environ.update(LITELLM_LOG="ERROR", LITELLM_LOCAL_MODEL_COST_MAP="True"); logging.disable(logging.CRITICAL)
import warnings; warnings.simplefilter("ignore")
from stub import Stub
stub = Stub([]); os.environ.update(STUB_URL=stub.url, STUB_ROOT=stub.root)
from dynamiq import Workflow
from dynamiq.utils.utils import JsonWorkflowEncoder
from io import BytesIO
class Encoder(JsonWorkflowEncoder):
    def default(self, value):
        try: return super().default(value)
        except TypeError: return None  # files in inputs, which no test compares
def opened(name):
    with open(os.path.join(here, "files", name), "rb") as file: opened = BytesIO(file.read())
    opened.name = name
    return opened
names = sys.argv[1:] or [os.path.basename(path)[:-5] for path in sorted(glob.glob(os.path.join(here, "more", "*.yaml")))]
for name in names:
    path = os.path.join(here, "more", name)
    with open(path + ".yaml") as file: first, second, third = file.readline(), file.readline(), file.readline()
    stub.script = json.loads(second.split("script:", 1)[1]); stub.requests = []
    workflow = Workflow.from_yaml_file(path + ".yaml", init_components=True)
    given = json.loads(first.split("input:", 1)[1])
    if third.startswith("# files: "): given["files"] = [opened(file) for file in json.loads(third.split("files:", 1)[1])]
    result = workflow.run_sync(given)
    shown = {"status": result.status.value, "output": result.output, "error": result.error.to_dict() if result.error else None,
             "llm_requests": stub.requests}
    with open(path + ".json", "w") as file:
        file.write(json.dumps(shown, cls=Encoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    print(name, shown["status"], flush=True)
os._exit(0)
