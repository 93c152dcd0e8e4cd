import { createRemoteJWKSet, jwtVerify } from "jose";
import t from "tap";
import { typeBerth } from "../fixtures/type-berth.ts";
import { openStand } from "../../program/rights/fixtures/stand.ts";

t.test("keys are listed, rotated and revoked at a command line, while tokens are bought and verified at the edge", async (t) => {
  const { berth, env } = await openStand(t);
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await typeBerth(["keys", ...args], { env });
    t.equal(code, 0, stderr);
    return stdout;
  };
  const token = async () => {
    const authorization = `Basic ${Buffer.from(`any:${berth.key}`).toString("base64")}`;
    const answer = await fetch(`${berth.api}/docker/token?service=registry&scope=repository:datagrok/x:push`, { headers: { authorization } });
    return ((await answer.json()) as { token: string }).token;
  };
  const verified = async (token: string) => {
    const { webRoot: issuer } = (await (await fetch(`${berth.api}/admin/startup_data`)).json()) as { webRoot: string };
    const keys = createRemoteJWKSet(new URL(`${berth.api}/docker/keys`));
    return jwtVerify(token, keys, { issuer, audience: "registry", algorithms: ["RS256"] }).then(
      ({ protectedHeader }) => protectedHeader.kid ?? "",
      () => undefined,
    );
  };

  t.match(await run("list"), /no key yet/);
  const old = await token();
  const first = (await verified(old)) ?? "";
  t.match((await run("list")).split("\n")[1], new RegExp(`^${first} .* signs$`));

  const second = /^(\S{43}) signs/.exec(await run("rotate"))?.[1] ?? "";
  t.equal(await verified(await token()), second);
  t.equal(await verified(old), first);
  t.match(await run("list"), new RegExp(`^${second} .* signs\\n${first} .* published until 2`, "m"));

  await run("revoke", first);
  t.equal(await verified(old), undefined);
  t.notMatch(await run("list"), first);

  for (const args of [[], ["frob"], ["revoke"], ["rotate", "x"], ["revoke", first]]) {
    const { code, stdout, stderr } = await typeBerth(["keys", ...args], { env });
    t.same([code, stdout], [args[1] === first ? 3 : 2, ""], args.join(" "));
    t.not(stderr, "");
  }
});
