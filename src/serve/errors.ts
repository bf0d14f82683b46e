// What goes wrong, as HTTP says it: a status and `{"error": {message, type, param, code}}`, or Anthropic's form of it.
// The official clients read the nested form alone.
import { Failure, type FailureKind } from "../protocol/index.ts";

export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null };
}

export interface HttpErrorOptions {
  type?: string;
  /** The field of the request that is wrong. */
  param?: string;
  code?: string;
  headers?: Record<string, string>;
  /** What led to it; stays inside. */
  cause?: unknown;
}

/** An answer other than 2xx, thrown anywhere in a route. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: number;
  readonly options: HttpErrorOptions;

  constructor(status: number, message: string, options: HttpErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.status = status;
    this.options = options;
  }
}

/** A field that would change the answer and is not honoured. */
export function unsupportedField(param: string, advice = "leave it out"): HttpError {
  return new HttpError(400, `${param} is not supported; ${advice}.`, { param, code: "unsupported_parameter" });
}

/** Headers that tell a client when to come again. */
export function retryAfter(milliseconds: number): Record<string, string> {
  return { "retry-after-ms": String(milliseconds), "retry-after": String(Math.ceil(milliseconds / 1000)) };
}

const statusOfFailure: Record<FailureKind, number> = { usage: 400, input: 400, environment: 503, numeric: 500 };
/** Failures whose code says more than their kind. */
const statusOfCode: Record<string, number> = { adapter_not_found: 404 };

/** Whatever was thrown, as an HTTP error; what is no known failure is a defect of ours, and its text stays inside. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof Failure) {
    const code = codeOf(error.cause);
    const message = error.hint === undefined ? error.message : `${error.message} ${error.hint}`;
    return new HttpError(
      (code !== undefined && statusOfCode[code]) || statusOfFailure[error.kind],
      message,
      code === undefined ? {} : { code },
    );
  }
  return new HttpError(500, "The server failed on this request.", { code: "internal_error" });
}

export function errorBody({ status, message, options }: HttpError): ErrorBody {
  return {
    error: {
      message,
      type: options.type ?? (status < 500 ? "invalid_request_error" : "server_error"),
      param: options.param ?? null,
      code: options.code ?? null,
    },
  };
}

const messagesTypes: Record<number, string> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
};

/** The form of the Messages API; param and code are kept beside what its clients read. */
export function messagesErrorBody({ status, message, options }: HttpError) {
  const type = messagesTypes[status] ?? (status < 500 ? "invalid_request_error" : "api_error");
  return {
    type: "error",
    error: { type, message, param: options.param ?? null, code: options.code ?? null },
  };
}

/** The answer to a request of a path, in the form that the clients of the path read. */
export function errorResponse(error: HttpError, path: string): Response {
  const body = isMessagesPath(path) ? messagesErrorBody(error) : errorBody(error);
  return Response.json(body, { status: error.status, headers: error.options.headers ?? {} });
}

function isMessagesPath(path: string): boolean {
  return path === "/v1/messages" || path.startsWith("/v1/messages/");
}

/** Failures carry a machine-readable code in their cause, where there is one. */
function codeOf(cause: unknown): string | undefined {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined;
  return typeof code === "string" ? code : undefined;
}
