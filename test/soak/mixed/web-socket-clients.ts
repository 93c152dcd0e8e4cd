import WebSocket from "ws";
import { bodyOf } from "./plan.ts";
import { WrongResponse, type CheckedResponse, type SoakTarget } from "./ordinary-clients.ts";

/** Sends messages of these lengths, checks that each comes back, and ends in one of four ways. */
export function echoChecked(
  { port, secured, pathOf }: SoakTarget,
  {
    containerId,
    id,
    lengths,
    end,
  }: { containerId: string; id: string; lengths: readonly number[]; end: "closes" | "terminates" | "is closed" | "is terminated" },
): Promise<CheckedResponse> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${secured ? "wss" : "ws"}://127.0.0.1:${port}${pathOf(containerId)}/mixed`, {
      headers: { authorization: "token" },
      rejectUnauthorized: false,
      perMessageDeflate: false,
    });
    let nth = 0;
    const messageOf = (at: number) => bodyOf(`${id} ${at}`, lengths[at] ?? 0);
    const leave = {
      closes: () => socket.close(1_000),
      terminates: () => socket.terminate(),
      "is closed": () => socket.send("close"),
      "is terminated": () => socket.send("terminate"),
    };
    socket.on("error", () => undefined);
    socket.once("close", () => resolve({ outcome: nth === lengths.length ? "right" : "broken" }));
    socket.once("open", () => {
      for (const at of lengths.keys()) socket.send(messageOf(at));
    });
    socket.on("message", (message: Buffer) => {
      if (!messageOf(nth).equals(message)) {
        socket.terminate();
        return reject(new WrongResponse(`message ${nth} of ${id} came back as another one`));
      }
      nth++;
      if (nth === lengths.length) leave[end]();
    });
  });
}
