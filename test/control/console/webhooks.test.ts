import t from "tap";
import { eventually } from "../../fixtures/eventually.ts";
import { ADMIN_KEY, openApiFixture } from "../api/fixtures/open-api-fixture.ts";
import { openReceiver } from "../webhooks/fixtures/open-receiver.ts";
import { listenForBrowsers } from "./fixtures/listen-for-browsers.ts";
import { openConsole } from "./fixtures/open-console.ts";

const FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";

for (const phone of [true, false])
  t.test(`${phone ? "phone" : "wide"}: a webhook is added, tested, looked into and removed`, async (t) => {
    const server = await openApiFixture(t);
    const receiver = await openReceiver(t);
    const base = await listenForBrowsers(t, server);
    const { page, signIn, picture, troubles } = await openConsole(t, base, { phone, at: "administration/webhooks" });
    await signIn(ADMIN_KEY);
    const fitting = async (name: string) => {
      t.ok(await page.evaluate<boolean>(FITS), `${name}: nothing sticks out to the side`);
      await picture(`${name}-${phone ? "phone" : "wide"}`);
    };
    const dialog = page.getByRole("dialog");
    await page.getByText("No webhooks.").waitFor();
    await page.getByRole("button", { name: "Add webhook…" }).click();
    await dialog.getByLabel("URL").fill(`${receiver.url}?token=hush`);
    await dialog.getByLabel("Events").fill("container.failed, package.*");
    await fitting("webhook-add");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    const secret = await dialog.getByLabel("Secret").inputValue();
    await fitting("webhook-secret");
    await dialog.getByRole("button", { name: "Done" }).click();
    const row = page.locator("tbody tr").filter({ hasText: receiver.url });
    await row.getByText("active").waitFor();
    t.notMatch(await page.locator("body").innerText(), /hush|whsec_/);
    await row.getByRole("button", { name: "Test" }).click();
    await page.getByText(/The test was delivered in \d+ ms: the receiver answered 204/).waitFor();
    receiver.verify(secret);
    await fitting("webhooks");
    await row.getByRole("link", { name: receiver.url }).click();
    const delivery = page.locator("tbody tr").filter({ hasText: "webhook.test" });
    await delivery.getByText("delivered").waitFor();
    await fitting("webhook-deliveries");
    server.webhookSender.start();
    await delivery.getByRole("button", { name: "Redeliver" }).click();
    await receiver.count(2);
    await page.getByRole("link", { name: "All webhooks" }).click();
    await row.getByRole("button", { name: "Remove…" }).click();
    await dialog.getByRole("button", { name: "Remove" }).click();
    await page.getByText("No webhooks.").waitFor();
    await eventually("removed", async () => (await server.store.webhooks.all()).length === 0);
    t.same(troubles, []);
  });
