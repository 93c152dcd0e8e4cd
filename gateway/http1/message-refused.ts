/**
 * The message is not forwarded, and its connection is closed, because the begin of the next message is unknown. `status` is for a request; a refused
 * response becomes 502.
 */
export class MessageRefused extends Error {
  readonly status: RefusedStatus;

  constructor(status: RefusedStatus, message: string) {
    super(message);
    this.name = "MessageRefused";
    this.status = status;
  }
}

type RefusedStatus = 400 | 408 | 413 | 414 | 431 | 501 | 505;
