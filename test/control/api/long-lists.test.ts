import t from "tap";
import { newContainer } from "../../../control/publish/new-container.ts";
import { openStand } from "./fixtures/api-stand.ts";

const MANY = 700;
const CONFIG = { cpu: 0.25, memoryMb: 512, gpu: 0, shmMb: 64, storageGb: 21, onDemand: false };

t.test("a list of many is whole, in order, and says the same as its pages", async (t) => {
  const { store, get, publish } = await openStand(t);
  const { json } = await publish("many", { "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 80\n" });
  const { packageId, imageId } = store.containers.find(json.containers[0].id) ?? { packageId: "", imageId: "" };
  store.transaction(() => {
    for (let index = 0; index < MANY; index++) {
      const id = crypto.randomUUID();
      const name = `Many-${String(index).padStart(4, "0")}`;
      const row = { ...newContainer("test", id, name, CONFIG, index), packageId, imageId, folder: `app/${id}`, name, friendlyName: name };
      store.containers.insert({ ...row, config: CONFIG, env: {}, updatedOn: index });
    }
  });
  const names = async (query: string) => (await get(`/docker/containers?${query}`)).json.map(({ name }) => name as string);
  const all = await names("order=name");
  t.equal(all.length, MANY + 1);
  t.same(
    all,
    all.toSorted((a, b) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1)),
    "whatever their case",
  );
  t.same(await names("order=!name"), all.toReversed());
  const pages = await Promise.all([1, 2, 3, 4].map((page) => names(`order=name&limit=200&page=${page}`)));
  t.same(pages.flat(), all);
  t.equal((await get("/docker/containers/count")).json, MANY + 1);
  t.equal((await get("/docker/containers/count?text=many-06")).json, 100);
  t.same(await names("order=createdOn&limit=2"), ["Many-0000", "Many-0001"]);
});
