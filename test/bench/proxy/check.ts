import { request } from "node:http";
import { FIXED_BODY } from "./nginx.ts";
import { PREFIX, type BenchWorld } from "./world.ts";

type Got = { status: number; body: string };

/** Asks a proxy once for each thing that it must do before it is measured; says what it does wrong. */
export async function wrongs(world: BenchWorld, port: number, options: { noKeys: boolean }): Promise<string[]> {
  const [key = "", , , other = ""] = world.keys;
  const fixed = `${PREFIX}${world.ids[5]}`;
  const raw = `${PREFIX}${world.ids[world.fixed + 5]}`;
  const problems: string[] = [];
  const small = await get(port, `${fixed}/small?a=b`, { authorization: key });
  if (small.status !== 200 || small.body !== FIXED_BODY) problems.push(`a small GET: ${describe(small)}`);
  const head = await get(port, `${raw}/head/ab?x=1`, { authorization: other });
  const lines = head.body.split("\r\n");
  const has = (line: RegExp) => lines.some((one) => line.test(one));
  if (lines[0] !== "GET /head/ab?x=1 HTTP/1.1") problems.push(`the target became ${lines[0]}`);
  if (!has(/^x-forwarded-for: /i) || !has(/^x-forwarded-proto: http$/i) || !has(/^x-forwarded-host: /i))
    problems.push("forwarded headers are missing");
  if (options.noKeys) return problems;
  if (!has(new RegExp(`^x-user-api-key: ${other}$`, "i"))) problems.push("x-user-api-key is missing");
  const refused = await get(port, `${fixed}/small`, { authorization: "unknown-key" });
  if (refused.status !== 401) problems.push(`a wrong key: ${describe(refused)}`);
  const unknown = await get(port, `${PREFIX}00000000-0000-4000-8000-000000000000/small`, { authorization: key });
  if (unknown.status !== 404) problems.push(`an unknown container: ${describe(unknown)}`);
  return problems;
}

function describe({ status, body }: Got): string {
  return `${status} ${JSON.stringify(body.slice(0, 100))}`;
}

function get(port: number, path: string, headers: Record<string, string>): Promise<Got> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ port, host: "127.0.0.1", path, headers: { host: "stand.example", ...headers }, agent: false }, (answer) => {
      let body = "";
      answer.setEncoding("latin1");
      answer.on("data", (text: string) => (body += text));
      answer.once("error", reject).once("end", () => resolve({ status: answer.statusCode ?? 0, body }));
    });
    outgoing.setTimeout(5_000, () => outgoing.destroy(new Error("no answer within 5 s")));
    outgoing.once("error", reject).end();
  });
}
