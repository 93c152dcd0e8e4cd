import { Fault } from "../../lib/fault.ts";

/** Why a request ends whose body did not move for `ms`. `untaken`: its container does not take what has come; undefined: unknown. */
export function stalledBody(ms: number, untaken?: boolean): Fault {
  const unread = "the container does not read it";
  const unsent = "the client does not send the rest";
  const why = untaken === undefined ? `${unread}, or ${unsent}` : untaken ? unread : unsent;
  return new Fault("EXCHANGE_TIMED_OUT", `The request's body made no progress for ${Math.round(ms / 100) / 10} s: ${why}`);
}
