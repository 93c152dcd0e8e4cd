import t from "tap";
import { openOwn } from "../gateway/registry/own-registry.ts";
import { openConsole } from "../control/console/fixtures/open-console.ts";

for (const [name, options] of [
  ["wide", {}],
  ["phone", { phone: true }],
] as const) {
  t.test(`${name}: a dry run shows what would go, and a collection deletes it; others may do neither`, async (t) => {
    const { berth, push, status } = await openOwn(t, { BERTH_REGISTRY_RETENTION: "datagrok/*:* keep=1" });
    await push("datagrok/app", "1.0.0", "a layer");
    await push("datagrok/app", "2.0.0", "another layer");
    const post = (body: object) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    await berth.call("/users", post({ login: "bert" }));
    const { key } = (await (await berth.call("/users/bert/keys", post({}))).json()) as { key: string };
    const path = `${berth.api}/admin/registry/garbage`;
    for (const init of [{}, post({ dryRun: true })]) {
      t.equal((await fetch(path, init)).status, 401);
      t.equal((await fetch(path, { ...init, headers: { "content-type": "application/json", authorization: `Dev ${key}` } })).status, 403);
    }
    t.match(await (await berth.call("/admin/registry/garbage")).json(), { isShared: false, running: null, last: null });

    const { page, signIn, openSection, picture, fits, troubles } = await openConsole(t, berth.base, { ...options, at: "registry/datagrok%2Fapp" });
    await signIn(berth.key);
    const row = page.getByRole("row").filter({ hasText: "1.0.0" });
    await row.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await row.waitFor({ state: "detached" });

    await openSection("Administration");
    await page.evaluate("location.hash = '#/administration/registry'");
    const collect = page.getByRole("button", { name: "Collect garbage…" });
    await page.getByText("Start a dry run to see").waitFor();
    t.ok(await collect.isDisabled(), "only after a dry run");
    await page.getByRole("button", { name: "Dry run", exact: true }).click();
    await page
      .getByText(/A collection would delete 3 layers and manifests, [\d.]+ K?i?B/)
      .or(page.getByText(/would delete \d/))
      .waitFor();
    t.ok((await page.locator("tbody tr").count()) > 0, "the largest are listed");
    t.ok(await fits());
    await picture(`garbage-${name}`);

    await collect.click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    t.match(await (await berth.call("/admin/registry/garbage")).json(), { last: { dryRun: true } }, "nothing runs without a yes");
    await collect.click();
    await page.getByRole("dialog").getByRole("button", { name: "Collect garbage" }).click();
    await page.getByText(/^Deleted \d+ layers and manifests/).waitFor();
    await page.getByRole("button", { name: "Dry run", exact: true }).click();
    await page.getByText("No garbage.").waitFor();
    t.ok(await collect.isDisabled());
    t.equal(
      await status("/v2/datagrok/app/manifests/2.0.0", {
        headers: { accept: "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json" },
      }),
      200,
    );
    const actions = ((await (await berth.call("/admin/audit?action=garbageCollected")).json()) as { target: string | null }[]).map(
      ({ target }) => target,
    );
    t.same(actions, ["dry run", null, "dry run"]);

    await push("datagrok/app", "3.0.0", "a third layer");
    const remove = page.getByRole("button", { name: "Remove images…" });
    t.ok(await remove.isDisabled(), "only after a dry run");
    await page.getByText("change the setting BERTH_REGISTRY_RETENTION and restart berth").waitFor();
    await page.getByRole("button", { name: "Dry run of rules" }).click();
    await page.getByText(/^The rules would remove 1 image; 1 tag stays/).waitFor();
    await page.getByRole("cell", { name: "2.0.0" }).waitFor();
    t.ok(await fits());
    await picture(`retention-${name}`);
    await remove.click();
    await picture(`retention-question-${name}`);
    await page.getByRole("dialog").getByRole("button", { name: "Remove images" }).click();
    await page.getByText(/^Removed 1 image; 1 tag stays/).waitFor();
    t.equal(await status("/v2/datagrok/app/manifests/2.0.0"), 404);
    t.same(troubles, []);
  });
}
