import t from "tap";
import { createHttp1 } from "../../../gateway/http1/message-reader.ts";
import { smuggling } from "../../fixtures/smuggling.ts";
import { cut, readRequests } from "./read-stream.ts";
import { numbers } from "../../fuzz/numbers.ts";

const http1 = createHttp1({ underscoreHeaders: "drop" });
const next = numbers(1);

for (const { name, stream, requests, refused } of smuggling("/p", "Host: berth\r\n")) {
  const bytes = Buffer.from(stream, "latin1");
  const ways: Record<string, Buffer[]> = {
    whole: [bytes],
    "byte by byte": cut(bytes, Array.from(bytes.keys()).slice(1)),
    "in pieces": cut(bytes, [next(bytes.length), next(bytes.length), next(bytes.length)]),
  };
  const wanted = requests.map(([method, target, body]) => `${method} ${target} ${body}`);
  for (const [way, pieces] of Object.entries(ways)) {
    const { messages: seen, end } = readRequests(http1, pieces);
    // A refused body may have been passed up to there.
    const messages = seen.map(({ method, target, body, complete }) => `${method} ${target} ${complete ? body : "…"}`);
    t.same([messages, end], [wanted, refused ?? "done"], `${name}, ${way}`);
  }
}
