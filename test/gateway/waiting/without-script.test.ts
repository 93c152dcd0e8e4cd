import { readFileSync } from "node:fs";
import t from "tap";
import { openPage } from "../../control/console/fixtures/open-console.ts";
import { ID, openContainer, openStand, PATH } from "../stand.ts";

for (const width of [390, 1_280]) {
  t.test(`${width} px: without script, the waiting page shows the pull, then the failure, and leads to the response`, async (t) => {
    const [css = "", js = ""] = ["page.css", "page.js"].map((file) => readFileSync(`gateway/waiting/${file}`, "utf8"));
    const gateway = await openStand(t, { waitingFiles: { css, js } });
    const { address } = await openContainer(t, (_, response) => void response.setHeader("content-type", "text/html").end("<h1>Here</h1>"));
    const page = await openPage({ javaScriptEnabled: false, viewport: { width, height: 800 } });
    t.teardown(() => page.close());
    await page.context().addCookies([{ name: "auth", value: "token", url: gateway.base }]);

    gateway.set(ID, { kind: "asleep" });
    await page.goto(`${gateway.base}${PATH}/deep`);
    t.same(gateway.wakes, [ID]);
    await page.getByText("Waiting for its image and its turn …").waitFor();
    gateway.set(ID, { kind: "coming", step: "start", pull: { done: 42_000_000, total: 107_000_000 } });
    await page.getByText("Pulling its image: 42 of 107 MB").waitFor();
    const logs = ["loading model", "no licence found"];
    const fault = { code: "CONTAINER_CRASHED", message: "It ended before it was ready, exit code 3.", logs } as const;
    gateway.set(ID, { kind: "failed", fault: { ...fault, logs }, wakeable: true, retryAt: Date.now() + 60_000 });
    await page.getByText("It ended before it was ready, exit code 3.").waitFor();
    await page.getByText("no licence found").waitFor();
    gateway.set(ID, { kind: "awake", addresses: [address] });
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("heading", { name: "Here" }).waitFor();
    t.equal(page.url(), `${gateway.base}${PATH}/deep`);
  });
}
