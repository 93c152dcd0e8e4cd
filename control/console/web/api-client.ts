/** What the API refused with, or why it could not be asked; `status` is 0 where nothing answered. */
export class Refused extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

/** Longer than any answer but that of a start, which is not waited for here. */
const LONGEST_MS = 30_000;

/** Asks the API as whoever the browser's cookie says. */
export async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const answer = await send(`/api${path}`, init);
  return (await answer.json()) as T;
}

/** The limit is for the head of the answer: what follows, such as lines of a log, may go on for as long as it likes. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), LONGEST_MS);
  const signal = init.signal ? AbortSignal.any([init.signal, late.signal]) : late.signal;
  const answer = await fetch(path, { ...init, signal })
    .catch((error: unknown) => {
      if (init.signal?.aborted) throw error;
      throw new Refused(late.signal.aborted ? "berth did not answer in time." : "berth cannot be reached.", 0);
    })
    .finally(() => clearTimeout(timer));
  if (!answer.ok) throw new Refused(await reasonOf(answer), answer.status);
  return answer;
}

async function reasonOf(answer: Response): Promise<string> {
  const body = (await answer.json().catch(() => undefined)) as { message?: string; "datagrok-error"?: string } | undefined;
  return body?.message ?? body?.["datagrok-error"] ?? `berth answered ${answer.status} ${answer.statusText}`.trim();
}
