import t from "tap";
import { openApiFixture } from "./fixtures/open-api-fixture.ts";

const UNKNOWN = "3f1c9a52-7b0e-4d16-9a41-0123456789ab";

t.test("images are listed, filtered and found", async (t) => {
  const { get, publish } = await openApiFixture(t);
  await publish("walk", { "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 80\n", "dockerfiles/db/container.json": '{"image":"postgres:16"}' });
  const { json } = await get("/docker/images?order=!name");
  t.same(
    json.map(({ name }) => name),
    ["walk-db", "walk-app"],
  );
  t.match(json[1], {
    "#type": "DockerImage",
    name: "walk-app",
    dockerName: "walk-app",
    version: "1.0.0",
    imageRef: /^datagrok\/walk-app:/,
    dockerfilePath: "dockerfiles/app/Dockerfile",
    status: "pending validation",
    createdOn: /^\d{4}-.*Z$/,
  });
  t.equal(json[0].imageRef, "postgres:16");
  t.same((await get(`/docker/images/${json[0].id}`)).json, json[0]);
  t.equal((await get(`/docker/images?text=${encodeURIComponent(encodeURIComponent('dockerName = "walk-app"'))}`)).json.length, 1);
});

t.test("an image is validated again on demand", async (t) => {
  const { get, publish, commands } = await openApiFixture(t);
  const { json } = await publish("walk", { "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 80\n" });
  commands.length = 0;
  t.equal((await get(`/docker/images/${json.images[0].id}/revalidate`)).status, 200);
  t.same(commands, [`validate ${json.images[0].id}`]);
});

t.test("unknown images are 404, and no ids 400", async (t) => {
  const { get } = await openApiFixture(t);
  for (const path of ["", "/revalidate"]) {
    t.match(await get(`/docker/images/${UNKNOWN}${path}`), { status: 404, json: { "#type": "ApiError", code: "IMAGE_ENTITY_NOT_FOUND" } });
    t.match(await get(`/docker/images/nonsense${path}`), { status: 400, json: { "#type": "ApiError", code: "ID_INVALID" } });
  }
});
