import type { HeaderEdits, HeaderLine, Lease } from "../decision.ts";
import type { Link } from "./link.ts";

/** The head of a request for an upgrade, as either engine has it. */
export type UpgradeAsked = {
  header(name: string): string | undefined;
  /** The lines that travel on, in their own order and case, and those that `edits` add. */
  lines(edits: HeaderEdits): HeaderLine[];
};

export type UpgradeAsk = {
  lease: Lease;
  /** The request target to send, byte for byte. */
  target: string;
  lines: readonly HeaderLine[];
  headTimeoutMs: number;
  signal: AbortSignal;
};

/** What the container said. Whoever gets it has its connection. */
export type UpgradeAnswer = {
  status: number;
  reason: string;
  header(name: string): string | undefined;
  /** False where it refused: of such a connection nobody needs more than to destroy it. */
  switched: boolean;
  /** Paused, and nobody's. */
  container: Link;
  /** What came right behind the 101. */
  rest: Buffer;
};

/**
 * Connects to where the lease leads and asks there for an upgrade. Whatever rejects, an abort too, destroys the connection.
 * Faults: CONTAINER_UNREACHABLE, CONTAINER_BROKE_OFF, RESPONSE_TIMED_OUT, and the lease's own.
 */
export type AskContainer = (ask: UpgradeAsk) => Promise<UpgradeAnswer>;
