/** Uses the definitions as a client would; it passes if it compiles. */

import type {
  AnswerInput,
  CreateRun,
  ErrorResponse,
  EventOf,
  ListRunsQuery,
  RunAnswer,
  RunEvent,
  RunEventType,
  RunList,
  TerminalEvent,
} from "./index.js";

/** `true` if two types are the same, else `false`. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <T extends true>(value: T): T => value;

// A request with only the required field, and one with all fields.
export const smallest: CreateRun = { input: {} };
export const largest: CreateRun = {
  input: { ticket: "My invoice is wrong", nested: { list: [1, null, "x"] } },
  user_id: "u-17",
  session_id: null,
  stream: false,
  background: true,
  file_ids: ["0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77"],
  metadata: { channel: "mail" },
};
// @ts-expect-error: `input` is required
export const without: CreateRun = { user_id: "u-17" };
// @ts-expect-error: metadata values are strings
export const label: CreateRun = { input: {}, metadata: { n: 1 } };

export const feedback: AnswerInput = { type: "human_feedback", data: { request_id: "…", feedback: "yes" } };
export const approval: AnswerInput = {
  type: "approval",
  data: { request_id: "…", approved: true, params: { amount: 500 } },
};
export const byPattern: AnswerInput = { type: "approval", data: { request_id: "…", feedback: "yes" } };
export const choices: AnswerInput = {
  type: "human_feedback",
  data: { request_id: "…", answers: [{ question_id: "0", selected: ["red"] }] },
};
// @ts-expect-error: `approved` is a boolean
export const unclear: AnswerInput = { type: "approval", data: { request_id: "…", approved: "yes" } };

export const query: ListRunsQuery = { status: ["failed", "awaiting_input"], sort: "-started_at", page_size: 100 };
// @ts-expect-error: no such status
export const badQuery: ListRunsQuery = { status: ["done"] };

/** The result of a run. Fields without a value are omitted, so they are optional. */
export function outcome({ data: run }: RunAnswer): unknown {
  switch (run.status) {
    case "completed":
      return run.output;
    case "failed":
      return run.error?.message;
    case "awaiting_input":
      return run.input_requests?.map((request) => [request.type, request.prompt, request.editable_params ?? []]);
    case "created":
    case "started":
    case "paused":
    case "canceled":
      return run.usage?.models["gpt"]?.cost_usd;
  }
}

/** A line for each event. Without a `default`, a missing type does not compile. */
export function line(event: RunEvent): string {
  switch (event.type) {
    case "run.started":
    case "run.paused":
    case "run.resumed":
    case "run.checkpoint":
    case "run.canceled":
      return event.data.status;
    case "run.completed":
      return JSON.stringify(event.data.output);
    case "run.failed":
      return event.data.error.message;
    case "node.started":
    case "node.completed":
      return event.data.node.name;
    case "node.failed":
    case "node.skipped":
      return event.data.error.code;
    case "llm.delta":
    case "agent.reasoning.delta":
    case "agent.answer.delta":
      return event.data.delta;
    case "agent.tool_call.started":
    case "agent.tool_call.completed":
    case "agent.tool_call.failed":
      return event.data.tool.name;
    case "agent.human_feedback.requested":
    case "approval_request.created":
      return event.data.request.prompt;
    case "agent.message.sent":
      return event.data.message;
    case "input.received":
    case "input.expired":
      return event.data.request_id;
  }
}

export function isTerminal(event: RunEvent): event is TerminalEvent {
  return event.type === "run.completed" || event.type === "run.failed" || event.type === "run.canceled";
}

export const problems = (response: ErrorResponse): [string, string][] => Object.entries(response.error.details ?? {});
export const next = (list: RunList): string | undefined => list.pagination.next_cursor;

holds<Same<EventOf<"llm.delta">["data"]["object"], "llm">>(true);
holds<Same<RunEvent["sequence"], number>>(true);
holds<Same<Extract<RunEventType, `run.${string}`>, "run.started" | "run.paused" | "run.resumed" | "run.checkpoint" | "run.completed" | "run.failed" | "run.canceled">>(true);
