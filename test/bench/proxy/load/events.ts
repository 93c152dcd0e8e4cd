/** Readers of event streams; counts events, however they are cut and framed on the way. */
import { connect } from "node:net";
import { requestOf } from "./client.ts";
import { begin, fail, readPlan, tell } from "./plan.ts";

const { plan, key, target } = readPlan();
/** As for WebSockets: connecting and compiling are not in the figure. */
const WARM_MS = 2_000;
/** What ends an event: no proxy may split it into something that hides it, since frames end behind events or within them. */
const MARK = Buffer.from('"text":"an event');
let count = 0;

for (let index = 0; index < plan.connections; index++) {
  const socket = connect(plan.port, "127.0.0.1");
  let begun = false;
  socket.write(requestOf(target(index), key(index)));
  socket.on("data", (piece: Buffer) => {
    if (!begun && !piece.toString("latin1", 0, 12).startsWith("HTTP/1.1 200")) fail(`the answer was ${piece.toString("latin1", 0, 100)}`);
    begun = true;
    for (let at = piece.indexOf(MARK); at !== -1; at = piece.indexOf(MARK, at + 1)) count++;
  });
  socket.once("error", (error) => fail(error.message));
  socket.once("close", () => fail("a stream was closed"));
}

setTimeout(() => {
  const end = begin(plan);
  count = 0;
  setTimeout(() => {
    const due = (plan.seconds * 1_000 * plan.connections) / Number(plan.more);
    if (count < due * 0.5) fail(`only ${count} of ${due} events came`);
    tell(end(count));
  }, plan.seconds * 1_000);
}, WARM_MS);
