"""Finds in the sources which of the ports' methods each deployed function may call.

Follows calls from a function's roots (its routes, or its use case) through `shared/http` and the service of `shared/runs`. The
machines of the log protocol request an `Op`; `drive.rs` maps it to the methods that perform it.
"""

import functools
import re

import rust

FOLDERS = ("shared/http/src", "shared/runs/src/service", "shared/runs/src/protocol", "shared/runs/src/engine.rs")
PORTS = {
    "runs": "RunStore",
    "files": "FileStore",
    "store": "FileStore",  # of files of a request, in shared/http
    "queue": "RunQueue",
    "apps": "AppStore",
    "keys": "KeyStore",
}
PORT_CALL = re.compile(r"\b(?:self\.|ports\.|api\.|backend\.|shared\.)+(%s)\s*\.(\w+)\(" % "|".join(PORTS))
# Names that are usually methods of the standard library: `.name(` is followed only from `self` and `service`, within a
# file, and from a variable that is named like its type.
COMMON = {"get", "new", "next", "take", "list", "create", "run", "read", "write", "push", "look", "end", "of", "finish", "enter",
          "remove", "open", "delete"}


@functools.cache
def methods():
    """Returns every method of the ports, as `Port::method`."""
    found = set()
    for function_file in ("store", "file", "queue", "app", "key"):
        _, code = rust.files(f"shared/runs/src/{function_file}.rs")[f"shared/runs/src/{function_file}.rs"]
        for trait in re.finditer(r"pub trait (\w+)", code):
            body = code[trait.start() : rust.end_of_block(code, trait.start())]
            found |= {f"{trait[1]}::{name}" for name in re.findall(r"\bfn (\w+)", body)}
    return frozenset(found)


@functools.cache
def provided():
    """Maps each method with a default implementation in its port to the methods that this calls."""
    found = {}
    for function_file in ("store", "file", "queue", "app", "key"):
        _, code = rust.files(f"shared/runs/src/{function_file}.rs")[f"shared/runs/src/{function_file}.rs"]
        for trait in re.finditer(r"pub trait (\w+)", code):
            body = code[trait.start() : rust.end_of_block(code, trait.start())]
            for method in re.finditer(r"\bfn (\w+)\([^;{]*\{", body):
                block = body[method.start() : rust.end_of_block(body, method.start())]
                found[f"{trait[1]}::{method[1]}"] = {f"{trait[1]}::{name}" for name in re.findall(r"\bself\.(\w+)\(", block)}
    return found


@functools.cache
def ops():
    """Maps each `Op` to the ports' methods with which `Ports::perform` performs it."""
    (perform,) = (found for found in rust.functions("shared/runs/src/service") if found.name == "perform")
    (to_end,) = (found for found in rust.functions("shared/runs/src/service") if found.name == "read_to_end")
    arms = re.split(r"\bOp::", perform.code)[1:]
    found = {}
    for arm in arms:
        name = re.match(r"\w+", arm)[0]
        text = arm + (to_end.code if "read_to_end" in arm else "")
        found[name] = {f"{PORTS[port]}::{method}" for port, method in PORT_CALL.findall(text)}
    return found


@functools.cache
def machines():
    """Maps each machine of the protocol to the ops that it may request."""
    found = {}
    for file, (_, code) in rust.files("shared/runs/src/protocol").items():
        for name in re.findall(r"\bimpl(?:<[^>]*>)? Machine for (\w+)", code) + (["Writer"] if file.endswith("/writer.rs") else []):
            found[name] = set(re.findall(r"\bOp::(\w+)", code))
    for file, (_, code) in rust.files("shared/runs/src/protocol").items():
        for name in set(re.findall(r"\bimpl(?:<[^>]*>)? Machine for (\w+)", code)) & set(found):
            # A machine that turns into another one.
            for other in found:
                if re.search(rf"\b{other}\b", code):
                    found[name] |= found[other]
    return found


@functools.cache
def called_by_nodes():
    """Returns every name that is called as a method in the engine."""
    return {name for _, code in rust.files("shared/engine/src").values() for name in re.findall(r"\.(\w+)\(", code)}


@functools.cache
def graph():
    """Maps each function to (functions it calls, port methods it calls, machines it drives)."""
    everything = [found for found in rust.functions(*FOLDERS) if "/protocol/" not in found.file]
    edges = rust.call_graph(everything, COMMON, lambda code: PORT_CALL.sub("(", code))
    found = {}
    for function in everything:
        code = function.code
        ports = {f"{PORTS[port]}::{method}" for port, method in PORT_CALL.findall(code)} & methods()
        if "FileStore::create" in ports:
            ports |= {"Upload::write", "Upload::finish"}
        # `drive` and `perform` do what machines request; `machines()` knows that more exactly.
        calls = {called for called in edges[function] if called.name not in ("perform", "read_to_end")}
        for called in everything:
            # What the engine's nodes call on the context of their run.
            if called.of == "RunContext" and called.name in called_by_nodes() and re.search(r"\bengine\.execute\(", code):
                calls.add(called)
            # An extractor among a handler's arguments runs before it.
            if called.name == "from_request_parts" and re.search(rf"\b{called.of}\(", code):
                calls.add(called)
        driven = {name for name in machines() if re.search(rf"\b{name}\b", code)}
        found[function] = (calls, ports, driven)
    return found


def accepted_for_workers():
    """Returns the graph for a retry: it passes `accept` no claim, and without a claim `accept` executes nothing."""
    (retry,) = (one for one in graph() if one.of == "RunService" and one.name == "retry")
    assert re.search(r"\baccept_in_task\(&app, new, None, \w+, Mode::Background, None\)", retry.code), "a retry may execute"
    (accept,) = (one for one in graph() if one.of == "RunService" and one.name == "accept")
    assert re.search(r"let \(Some\(claim\), Some\(slot\)\) = \(claim, slot\) else \{\s*return", accept.code), "a retry may execute"
    called, ports, driven = graph()[accept]
    return graph() | {accept: ({one for one in called if one.name != "execute"}, ports, driven - {"Writer"})}


def reached(roots):
    """Returns the port methods that these functions may call."""
    retries = {root for root in roots if root.file.endswith("/routes/retry_run.rs")}
    return reached_in(graph(), set(roots) - retries) | reached_in(accepted_for_workers(), retries)


def reached_in(functions, roots):
    """The same on the given graph."""
    ports = set()
    for function in rust.reachable({function: calls for function, (calls, _, _) in functions.items()}, roots):
        _, direct, driven = functions[function]
        ports |= direct | {method for machine in driven for op in machines()[machine] for method in ops()[op]}
    return ports
