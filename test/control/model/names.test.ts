import t from "tap";
import { containerName, debugTag, imageName, isRepositoryPart, releaseTag, serviceName } from "../../../control/model/names.ts";

t.test("images and containers are named as the publishing client and plugins name them", async (t) => {
  for (const [name, folder, image, container] of [
    ["@datagrok/chem", "chem", "chem-chem", "chem-chem"],
    ["Chem", "", "chem", "chem"],
    ["@datagrok/MyPackage", "Web-App", "mypackage-web-app", "my-package-Web-App"],
    ["HTTPServer", "x", "httpserver-x", "http-server-x"],
    ["my_package.js", "x", "my_package.js-x", "my-package-js-x"],
    ["py2Tools", "x", "py2tools-x", "py2-tools-x"],
  ] as const) {
    t.equal(imageName(name, folder), image);
    t.equal(containerName(name, folder), container);
  }
});

t.test("a release's tag follows the content, a developer's follows the login", async (t) => {
  t.equal(releaseTag("1.0.0", "0123456789abcdef"), "1.0.0.01234567");
  t.equal(releaseTag("1.0.0+x", "0123456789abcdef"), "1.0.0-x.01234567");
  t.equal(debugTag("anna"), "anna");
  t.equal(debugTag("anna.b@example.com"), "anna.b-example.com");
  t.equal(debugTag("-"), "latest");
});

t.test("names that no registry takes are recognized", async (t) => {
  for (const name of ["a", "a-b", "a__b", "a.b", "a---b"]) t.ok(isRepositoryPart(name), name);
  for (const name of ["", "A", "a b", "-a", "a-", "a..b", "a/b", "a___b", "ä"]) t.notOk(isRepositoryPart(name), name);
});

t.test("a service's name is a DNS label whatever it is made of, and the id keeps it apart", async (t) => {
  const id = "0F1C9A52-7b0e-4d16-9a41-0123456789ab";
  t.equal(serviceName("prod", "chem-chem", id), "prod-chem-chem-0f1c9a52");
  t.equal(serviceName("", "chem", id), "chem-0f1c9a52");
  for (const [environment, name] of [
    ["Prod Env", "x"],
    ["42", "7up"],
    ["", "ünïcode"],
    ["", "---"],
    ["e".repeat(80), "n".repeat(80)],
    ["a".repeat(53), "-b"],
  ] as const) {
    t.match(serviceName(environment, name, id), /^[a-z][a-z0-9-]{0,53}[a-z0-9]-0f1c9a52$|^[a-z]-0f1c9a52$/, `${environment} ${name}`);
    t.ok(serviceName(environment, name, id).length <= 63);
  }
});
