"""Prints the database of a data folder as SQL: schema, versions of apps, runs and their logs; no keys, no queue."""
import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
TABLES = ["app_versions", "runs", "metadata", "log"]


def literal(value):
    if value is None or isinstance(value, int): return "NULL" if value is None else str(value)
    if isinstance(value, str): return "'" + value.replace("'", "''") + "'"
    # JSON is written as readable text; ids are 16 bytes.
    if value[:1] in (b"{", b"["): return "CAST(" + literal(value.decode()) + " AS BLOB)"
    return f"X'{value.hex()}'"


print(f"PRAGMA user_version = {db.execute('PRAGMA user_version').fetchone()[0]};")
for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type = 'index', rowid"):
    print(sql + ";")
for table in TABLES:
    for row in db.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):
        print(f"INSERT INTO {table} VALUES ({', '.join(map(literal, row))});")
