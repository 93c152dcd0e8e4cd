import t from "tap";
import { openApiFixture } from "./fixtures/open-api-fixture.ts";

const DIGEST = `sha256:${"d".repeat(64)}`;

t.test("an image is in use while a container runs it, whatever was published since", async (t) => {
  const { publish, store, get } = await openApiFixture(t);
  const files = { "dockerfiles/app/Dockerfile": "FROM scratch\nEXPOSE 80\n" };
  const { images, containers } = (await publish("walk", files)).json;
  const [{ id }] = containers;
  const inUse = async () => (await get("/admin/images-in-use")).json.references as unknown as string[];
  t.ok((await inUse()).includes(images[0].imageRef));

  const old = { ref: "datagrok/walk-app:anna", digest: DIGEST };
  await store.containers.move(id, "USER_STOPPED", "STARTED", { desiredInstances: 1, runningGeneration: 1, deployed: old });
  t.ok((await inUse()).includes(`datagrok/walk-app:anna@${DIGEST}`), "its tag may have moved");
  await store.images.move(images[0].id, "PENDING_VALIDATION", "DELETED", {});
  t.same(await inUse(), [old.ref, `${old.ref}@${DIGEST}`]);
  await store.containers.move(id, "STARTED", "USER_STOPPED", { runningGeneration: undefined });
  t.same(await inUse(), []);
});

t.test("an image is in use by the digest that its tag had when it was validated", async (t) => {
  const { publish, store, get } = await openApiFixture(t);
  const { images } = (await publish("walk", { "dockerfiles/app/Dockerfile": "FROM scratch\nEXPOSE 80\n" })).json;
  await store.images.update(images[0].id, { digest: DIGEST });
  t.ok(((await get("/admin/images-in-use")).json.references as unknown as string[]).includes(`${images[0].imageRef}@${DIGEST}`));
});
