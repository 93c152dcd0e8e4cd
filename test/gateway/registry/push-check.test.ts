import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { once } from "node:events";
import t, { type Test } from "tap";
import type { PushCheckRequest } from "../../../gateway/contract.ts";
import { openPushCheck } from "../../../gateway/registry/push-check.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { openRecorder, plainUpstream, type Recorder } from "./stand.ts";

async function openChecked(t: Test, options: { answerMs?: number; isSilent?: boolean; registry?: Recorder } = {}) {
  const { answerMs = 10_000, isSilent = false } = options;
  const registry = options.registry ?? (await openRecorder(t, (_, response) => void (isSilent || response.writeHead(201).end())));
  const checked: PushCheckRequest[] = [];
  const pushCheck = await openPushCheck({
    upstream: plainUpstream(registry.port),
    check: async (push) => void checked.push(push),
    answerMs,
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
  });
  t.teardown(() => pushCheck.close());
  const { target } = pushCheck;
  const lines = pushCheck.lines({ repository: "datagrok/a", reference: "1" });
  const push = async (manifest: string) => {
    const socketPath = "socketPath" in target ? target.socketPath : "";
    const sent = request({ socketPath, method: "PUT", path: "/v2/datagrok/a/manifests/1", headers: Object.fromEntries(lines) });
    sent.end(manifest);
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    return { status: response.statusCode, body: await text(response) };
  };
  return { registry, checked, push };
}

t.test("a manifest whose size other programs may read in another way is refused before the registry has it", async (t) => {
  const { registry, checked, push } = await openChecked(t);
  const refused = [
    '{"layers":[],"Layers":[{"size":9}]}',
    '{"layers":[],"layer\u017f":[{"size":9}]}',
    '{"layers":[{"size":0,"Size":9}]}',
    '{"config":{"size":1,"SIZE":9},"layers":[]}',
    '{"Config":{"size":9},"layers":[]}',
    `{"layers":[{"size":9}],"annotations":{${Array.from({ length: 80_001 }, (_, nth) => `"${nth}":""`).join()}}}`,
    "[]",
  ];
  for (const manifest of refused) {
    const { status, body } = await push(manifest);
    t.equal(status, 403, manifest.slice(0, 50));
    t.match(JSON.parse(body), { errors: [{ code: "DENIED", message: /^The manifest (has the key|is not a JSON object)/ }] });
  }
  t.same([checked, registry.requests], [[], []]);
  t.equal((await push('{"layers":[{"size":9},{"size":1}],"config":{"size":7},"annotations":{"Layers":"a"}}')).status, 201);
  t.match(checked, [{ repository: "datagrok/a", sizeBytes: 10 }]);
});

t.test("the registry may take as long for a manifest as without the check", async (t) => {
  const { registry, push } = await openChecked(t, { answerMs: 300, isSilent: true });
  const { status, body } = await push('{"layers":[]}');
  t.equal(status, 502);
  t.match(body, /no response within 0\.3 s/);
  t.equal(registry.requests.length, 1);
});

t.test("a manifest whose sizes are not those of the stored layers is refused: it would take less of a quota than the image has", async (t) => {
  const stored: Record<string, number> = { [`sha256:${"a".repeat(64)}`]: 3_000_000, [`sha256:${"b".repeat(64)}`]: 7 };
  const [layer, config] = Object.keys(stored) as [string, string];
  const registry = await openRecorder(t, ({ method, url = "" }, response) => {
    const size = stored[url.replace("/v2/datagrok/a/blobs/", "")];
    if (method === "HEAD") response.writeHead(size === undefined ? 404 : 200, size === undefined ? {} : { "content-length": size }).end();
    else response.writeHead(201).end();
  });
  const { checked, push } = await openChecked(t, { registry });
  const manifest = (layers: object[], more = {}) => JSON.stringify({ layers, config: { digest: config, size: 7 }, ...more });
  for (const [why, body] of [
    ["another size", manifest([{ digest: layer, size: 1 }])],
    ["another size", manifest([{ digest: layer }])],
    ["another size", manifest([], { config: { digest: config, size: 0 } })],
    [
      "two sizes",
      manifest([
        { digest: layer, size: 3_000_000 },
        { digest: layer, size: 1 },
      ]),
    ],
    ["has no layer", manifest([{ digest: `sha256:${"c".repeat(64)}`, size: 1 }])],
    ["a key twice", manifest([{ digest: layer, size: 3_000_000 }], {}).replace('"layers"', '"layers":[{}],"layers"')],
    ["a key twice", `{"layers":[{"digest":"${layer}","size":3000000}],"layers":[{}]}`],
    ["has the key", manifest([{ digest: layer, Digest: config, size: 3_000_000 }])],
    ["has 1001 layers", manifest(Array.from({ length: 1_000 }, (_, nth) => ({ digest: `sha256:${String(nth).padStart(64, "0")}`, size: 1 })))],
  ] as const) {
    const answer = await push(body);
    t.equal(answer.status, 403, why);
    t.match(JSON.parse(answer.body), { errors: [{ code: "DENIED", message: new RegExp(why) }] });
  }
  t.same(checked, []);
  t.equal((await push(manifest([{ digest: layer, size: 3_000_000 }]))).status, 201);
  t.match(checked, [{ sizeBytes: 3_000_000 }]);
});
