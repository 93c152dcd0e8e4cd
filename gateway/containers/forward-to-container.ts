import type { Fault } from "../../lib/fault.ts";
import { formatServerTiming } from "../../lib/start-phases.ts";
import { BUSY_HEADER } from "../contract.ts";
import type { DirectResponse, HeaderEdits, HeaderLine, PlainForward, ResponseHeadView } from "../decision.ts";
import { containerErrorResponse } from "../direct-responses.ts";
import { CONSOLE_COOKIES } from "./credentials.ts";
import type { ContainerLease } from "./lease.ts";
import { ORIGIN_WIDE_HEADERS, originLines, readable } from "./origins.ts";

/** Edits of informational responses, and of responses without headers of interest. */
const CONTAINER_EDITS: HeaderEdits = { remove: ORIGIN_WIDE_HEADERS, add: [], removeCookies: CONSOLE_COOKIES };
const REMOVED_WITH_BUSY = [...ORIGIN_WIDE_HEADERS, BUSY_HEADER];

/** Created for every request: an object of a class costs less than one with its own functions. */
export class ForwardToContainer implements PlainForward {
  readonly target: string;
  readonly headTimeoutMs: number;
  readonly request: HeaderEdits;
  readonly interim = CONTAINER_EDITS;
  readonly #origin: string | undefined;
  readonly #lease: ContainerLease;

  /** `origin`: of the request's page, if it is permitted to read the response. */
  constructor(lease: ContainerLease, target: string, edits: HeaderEdits, headTimeoutMs: number, origin: string | undefined) {
    this.target = target;
    this.headTimeoutMs = headTimeoutMs;
    this.request = edits;
    this.#origin = origin;
    this.#lease = lease;
  }

  response(received: ResponseHeadView, connectMs: number): HeaderEdits {
    const lease = this.#lease;
    const woken = lease.woken();
    if (woken !== undefined) lease.reportConnected(connectMs);
    const busy = received.header(BUSY_HEADER);
    if (busy !== undefined && /^\d{1,7}$/.test(busy)) lease.reportBusy(Number(busy));
    // Most requests do not come from a page of another origin, and need no list of names.
    if (woken === undefined && busy === undefined && this.#origin === undefined) return CONTAINER_EDITS;
    const remove = busy === undefined ? ORIGIN_WIDE_HEADERS : REMOVED_WITH_BUSY;
    const add: HeaderLine[] = woken === undefined ? [] : [["Server-Timing", formatServerTiming(woken.start, connectMs)]];
    if (this.#origin !== undefined) {
      const names = received.names().filter((name) => !remove.includes(name));
      if (woken !== undefined) names.push("server-timing");
      add.push(...originLines(this.#origin, names));
    }
    return { remove, add, removeCookies: CONSOLE_COOKIES };
  }

  respondTo(fault: Fault): DirectResponse {
    return readable(this.#origin, containerErrorResponse(fault));
  }
}
