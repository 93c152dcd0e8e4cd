import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createGatewayTokens, REPLACED_TOKEN_MS } from "../../../control/identity/gateway-tokens.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

/** Two processes on one data folder: the control plane, and the command line beside it. */
function openBoth(t: Test) {
  const folder = tempFolder(t);
  const clock = createStillClock();
  const open = () => createGatewayTokens({ dataFolder: folder, clock });
  return { file: join(folder, "gateways.token"), clock, control: open(), command: open() };
}

t.test("the first caller makes the token, and only the owner of the folder may read it", (t) => {
  const { file, control, command } = openBoth(t);
  t.notOk(control.accepts(""), "before there is one, nothing is good");
  const token = command.current();
  t.equal(control.current(), token);
  t.ok(control.accepts(token));
  t.notOk(control.accepts(`${token}x`));
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.end();
});

t.test("one that was replaced stays good for an hour, or not a moment longer", async (t) => {
  const { clock, control, command } = openBoth(t);
  const old = control.current();
  t.ok(control.accepts(old));
  const next = command.renew(false);
  t.not(next, old);
  await clock.advance(2_000);
  t.ok(control.accepts(next), "what another process wrote is seen");
  t.ok(control.accepts(old));
  const third = command.renew(false);
  await clock.advance(REPLACED_TOKEN_MS - 3_000);
  t.same([old, next, third].map(control.accepts), [true, true, true], "replacing one again does not end the one before");
  await clock.advance(4_000);
  t.same([old, next, third].map(control.accepts), [false, false, true]);
  t.equal(command.current(), third);
  const last = command.renew(true);
  await clock.advance(2_000);
  t.same([third, last].map(control.accepts), [false, true]);
});

t.test("one of the settings is accepted beside the folder's own, and ends when the settings have another", (t) => {
  const folder = tempFolder(t);
  let given = "a".repeat(64);
  const tokens = createGatewayTokens({ dataFolder: folder, given: () => given, clock: createStillClock() });
  const own = tokens.current();
  const next = "b".repeat(64);
  t.same([own, given, next, ""].map(tokens.accepts), [true, true, false, false]);
  given = next;
  t.same([own, "a".repeat(64), next].map(tokens.accepts), [true, false, true]);
  t.end();
});

t.test("what a full disk left of the file is no token, and the next one is whole", (t) => {
  const { file, control } = openBoth(t);
  writeFileSync(file, "# Which\nabc");
  t.notOk(control.accepts("abc"));
  const token = control.current();
  t.match(readFileSync(file, "utf8"), `${token}\n`);
  t.ok(control.accepts(token));
  t.throws(() => createGatewayTokens({ dataFolder: join(file, "none"), clock: createStillClock() }).current(), { code: "DATA_FOLDER_UNUSABLE" });
  t.end();
});
