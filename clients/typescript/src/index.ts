/** The Runs API in TypeScript: readable names for every request and response body, and every event. */

import type { components, operations } from "./types.js";

export type { components, operations, paths } from "./types.js";

type Schemas = components["schemas"];

// Requests.
export type CreateRun = Schemas["CreateRun"];
export type CreateRunForm = Schemas["CreateRunForm"];
export type UploadFileForm = Schemas["UploadFileForm"];
export type AnswerInput = Schemas["AnswerInput"];
export type QuestionAnswer = Schemas["QuestionAnswer"];
export type ListRunsQuery = NonNullable<operations["list_runs"]["parameters"]["query"]>;
export type ListRunEventsQuery = NonNullable<operations["list_run_events"]["parameters"]["query"]>;
export type StreamRunQuery = NonNullable<operations["stream_run"]["parameters"]["query"]>;

// Responses.
export type Run = Schemas["Run"];
export type RunStatus = Schemas["RunStatus"];
export type RunError = Schemas["RunError"];
export type File = Schemas["File"];
export type InputRequest = Schemas["InputRequest"];
export type InputRequestType = Schemas["InputRequestType"];
export type Usage = Schemas["Usage"];
export type ModelUsage = Schemas["ModelUsage"];
export type Pagination = Schemas["Pagination"];
export type RunAnswer = Schemas["RunAnswer"];
export type RunList = Schemas["RunList"];
export type EventList = Schemas["EventList"];
export type FileAnswer = Schemas["FileAnswer"];
export type Message = Schemas["Message"];
export type ErrorResponse = Schemas["ErrorResponse"];
export type ErrorBody = Schemas["ErrorBody"];

// Events: `RunEvent` is a union, discriminated by `type`.
export type RunEvent = Schemas["RunEvent"];
export type RunEventType = RunEvent["type"];
/** The event of one type: `EventOf<"node.completed">`. */
export type EventOf<Type extends RunEventType> = Extract<RunEvent, { readonly type: Type }>;
export type TerminalEvent = EventOf<"run.completed" | "run.failed" | "run.canceled">;
export type Node = Schemas["Node"];
export type Tool = Schemas["Tool"];
