"""Writes tables/pgvector.json: the reference's search results in a PostgreSQL with pgvector, for each case.

    PSYCOPG_IMPL=python python stores.py PORT      # on 127.0.0.1, with an empty database, user postgres, no password
"""
import json, logging, os, sys
os.environ.update(LITELLM_LOG="ERROR", LITELLM_LOCAL_MODEL_COST_MAP="True"); logging.disable(logging.CRITICAL)
import warnings; warnings.simplefilter("ignore")
from dynamiq.connections import PostgreSQL
from dynamiq.nodes.retrievers import PGVectorDocumentRetriever
from dynamiq.nodes.writers import PGVectorDocumentWriter
here = os.path.dirname(os.path.abspath(__file__))
DOCUMENTS = [
    {"id": "a", "content": "The quick brown fox jumps over the lazy dog", "metadata": {"year": 2019, "lang": "en", "tags": ["animal", "fable"], "ok": True, "on": "2019-03-01"}, "embedding": [1.0, 0.0, 0.0]},
    {"id": "b", "content": "A fox and another fox", "metadata": {"year": 2020, "lang": "en", "tags": ["animal"], "price": 1.5, "title": "Foxes"}, "embedding": [0.8, 0.6, 0.0]},
    {"id": "c", "content": "Der Hund schläft", "metadata": {"year": 2021, "lang": "de", "ok": False, "on": "2021-12-31T10:00:00"}, "embedding": [0.0, 1.0, 0.0]},
    {"id": "d", "content": "Databases store rows", "metadata": {"year": 2022, "url": "https://example.com/fox"}, "embedding": [0.0, 0.0, 1.0]},
    {"id": "e", "content": "Nothing is known of this one", "metadata": None, "embedding": [0.5, 0.5, 0.5]},
]
field = lambda field, operator, value: {"field": field, "operator": operator, "value": value}
FILTERS = [
    {"year": 2020}, {"lang": "en"}, {"lang": ["en", "de"]}, {"ok": True}, {"price": 1.5}, {"missing": "x"}, {"id": "a"}, {"lang": None},
    field("metadata.year", ">=", 2021), field("year", ">", 2021), field("year", "<", 2020), field("year", "<=", 2020), field("year", "!=", 2020),
    field("on", "<", "2020-01-01"), field("lang", "in", ["de"]), field("lang", "not in", ["de"]), field("year", "in", [2019, 2022]), field("year", "in", []),
    field("year", "not in", [2019]), field("tags", "contains_any", ["fable", "x"]), field("tags", "contains_any", []), field("year", "==", 2020.0),
    {"operator": "AND", "conditions": [field("lang", "==", "en"), field("year", ">", 2019)]},
    {"operator": "OR", "conditions": [field("lang", "==", "de"), {"operator": "AND", "conditions": [field("lang", "==", "en"), field("ok", "==", True)]}]},
    field("year", "~", 1), {"operator": "NOT", "conditions": [field("year", "==", 1)]}, field("lang", ">", "a"), field("year", "in", 2019), field("year", "!=", None),
    {"operator": "AND"}, {"operator": "AND", "conditions": [{"field": "year", "value": 1}]},
]
def case(node, **given): return {"node": node, "input": {"embedding": [0.9, 0.1, 0.0], **given}}
CASES = (
    [case({}, filters=filter) for filter in FILTERS]
    + [case({"vector_function": function}, top_k=3) for function in ("cosine_similarity", "inner_product", "l2_distance", "l1_distance")]
    + [case({"vector_function": "l2_distance"}, similarity_threshold=0.8), case({"similarity_threshold": 0.9}), case({"similarity_threshold": 0.9}, similarity_threshold=0.0)]
    + [case({}, query=query, alpha=alpha, top_k=4) for query in ("fox", "foxes dog", "nothing here matches", "schläft") for alpha in (0, 0.05, 0.3, 0.5, 1)]
    + [case({"alpha": 0.0}, query="fox"), case({"alpha": 0.0}), case({"vector_function": "l2_distance"}, query="fox", alpha=0.5)]
    + [case({"filters": {"lang": "en"}}, query="fox", alpha=0.5), case({"filters": {"lang": "en"}}, filters={"lang": "de"}), case({"top_k": 2})]
    + [{"node": {}, "input": {"embedding": [1.0, 0.0]}}]
)
def ran(node, given):
    result = node.run(given)
    if result.status.value != "success": return {"raises": result.error.to_dict()["type"]}
    return {"gives": [{"id": d.id, "score": d.score} for d in result.output["documents"]]}
def pgvector(port):
    # A new connection for each: a store closes its connection, which stores with the same connection id share.
    connection = lambda: PostgreSQL(host="127.0.0.1", port=port, database="postgres", user="postgres", password="")
    writer = PGVectorDocumentWriter(connection=connection(), table_name="table", dimension=3, create_if_not_exist=True, is_postponed_component_init=False)
    assert writer.run({"documents": [dict(d) for d in DOCUMENTS]}).output == {"upserted_count": 5}
    rows = []
    for one in CASES:
        retriever = PGVectorDocumentRetriever(connection=connection(), table_name="table", dimension=3, is_postponed_component_init=False, **one["node"])
        rows.append({**one, **ran(retriever, one["input"])})
    with open(os.path.join(here, "tables", "pgvector.json"), "w") as file:
        lines = lambda items: "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]"
        file.write('{"documents": ' + lines(DOCUMENTS) + ',\n"cases": ' + lines(rows) + "}\n")
pgvector(int(sys.argv[1])); os._exit(0)
