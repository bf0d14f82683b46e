// What goes wrong, as HTTP says it: `{"error": {message, type, param, code}}` and a status. The official clients read
// the nested form alone.
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
}

/** An answer other than 2xx, thrown anywhere in a route. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: number;
  readonly options: HttpErrorOptions;

  constructor(status: number, message: string, options: HttpErrorOptions = {}) {
    super(message);
    this.status = status;
    this.options = options;
  }
}

const statusOfFailure: Record<FailureKind, number> = { usage: 400, input: 400, environment: 503, numeric: 500 };

/** Whatever was thrown, as an HTTP error; what is no known failure is a defect of ours, and its text stays inside. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof Failure) {
    const code = codeOf(error.cause);
    const message = error.hint === undefined ? error.message : `${error.message} ${error.hint}`;
    return new HttpError(statusOfFailure[error.kind], message, code === undefined ? {} : { code });
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

export function errorResponse(error: HttpError): Response {
  return Response.json(errorBody(error), { status: error.status, headers: error.options.headers ?? {} });
}

/** Failures carry a machine-readable code in their cause, where there is one. */
function codeOf(cause: unknown): string | undefined {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined;
  return typeof code === "string" ? code : undefined;
}
