/**
 * A message that is not passed on; its connection ends, since nobody can say where its next message would begin. `status` answers a
 * request; a response that is refused is a container's fault, and its caller gets 502.
 */
export class MessageRefused extends Error {
  readonly status: RefusedStatus;

  constructor(status: RefusedStatus, sentence: string) {
    super(sentence);
    this.name = "MessageRefused";
    this.status = status;
  }
}

export type RefusedStatus = 400 | 408 | 413 | 414 | 431 | 501 | 505;
