import type { Fault } from "../../lib/fault.ts";
import { AccessRecord } from "../access-record.ts";
import type { NetConnection } from "../connections/connection.ts";
import type { ClientPeer, DirectResponse, HeaderEdits } from "../decision.ts";
import { responseBytes } from "../direct-responses.ts";
import type { RequestHead, ResponseHead } from "../http1/message-reader.ts";
import type { EngineContext } from "./engine-context.ts";

const NO_EDITS: HeaderEdits = { remove: [], add: [] };
const CLOSE = "Connection: close\r\n";
/** For a client of HTTP/1.0 that requests a persistent connection. */
const KEEP = "Connection: keep-alive\r\n";
/** The hop-by-hop lines of an upgrade, which berth writes itself. */
export const SWITCH_LINES = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/** What a response is written for. */
type RequestedHead = Pick<RequestHead, "method" | "minorVersion">;

/** Writes the responses of one client, one after another. */
export class ResponseWriter {
  readonly #connection: NetConnection;
  /** The prepared head, its edits, and the lines that berth adds. */
  #head: ResponseHead | undefined;
  #edits = NO_EDITS;
  #lines = "";
  #last = false;
  #dechunks = false;

  constructor(connection: NetConnection) {
    this.#connection = connection;
  }

  /** The head states that the connection closes after the response. */
  get last(): boolean {
    return this.#last;
  }

  /** Prepares the head of a container's final response. `last`: the connection closes after it. `dechunks`: its body has no chunks. */
  prepare({ minorVersion }: RequestedHead, head: ResponseHead, edits: HeaderEdits = NO_EDITS, last = false, dechunks = false): void {
    this.#last = last;
    this.#dechunks = dechunks;
    this.#head = head;
    this.#edits = edits;
    this.#lines = last ? CLOSE : minorVersion === 0 ? KEEP : "";
  }

  /** The same for the 101 response of an upgrade. */
  prepareSwitch(head: ResponseHead, edits: HeaderEdits = NO_EDITS): void {
    this.#dechunks = false;
    this.#head = head;
    this.#edits = edits;
    this.#lines = SWITCH_LINES;
  }

  /** Sends the prepared head, which was received as bytes `at`..`bodyAt`, and the body up to `end`. False: see `NetConnection.send`. */
  sendHead(memory: Buffer, at: number, bodyAt: number, end: number): boolean {
    const head = this.#head;
    this.#head = undefined;
    if (head === undefined) return true;
    // Nothing changes in the head, which came whole.
    if (head.length === bodyAt - at && !head.changes(this.#edits, this.#lines, this.#dechunks)) return this.#connection.send(memory, at, end);
    const taken = head.writeTo(this.#connection, this.#edits, this.#lines, this.#dechunks);
    return bodyAt === end ? taken : this.#connection.send(memory, bodyAt, end);
  }

  /** Sends the prepared 101 response. */
  sendSwitch(): void {
    const head = this.#head;
    this.#head = undefined;
    head?.writeTo(this.#connection, this.#edits, this.#lines);
  }

  sendInterim(head: ResponseHead | undefined, edits: HeaderEdits = NO_EDITS): boolean {
    return head === undefined || head.writeTo(this.#connection, edits);
  }

  /** Sends a response of berth's own. */
  sendAnswer(answer: DirectResponse, record: AccessRecord, { last, request }: { last: boolean; request?: RequestedHead }): void {
    const connection = last ? "close" : request?.minorVersion === 0 ? "keep-alive" : undefined;
    const bytes = responseBytes(answer, { bodyless: request?.method === "HEAD", connection });
    record.answered(answer.status);
    record.countBytes(bytes.length, "container");
    this.#connection.sendOwn(bytes);
  }

  /** Sends the response to bytes that are not a request, and records it. */
  sendRefusal({ watch, clock, refusal }: Pick<EngineContext, "watch" | "clock" | "refusal">, peer: ClientPeer, fault: Fault | undefined): void {
    if (fault === undefined) return;
    const record = new AccessRecord(watch, clock, undefined, peer.address);
    this.sendAnswer(refusal(fault), record, { last: true });
    record.finish("answered");
  }
}
