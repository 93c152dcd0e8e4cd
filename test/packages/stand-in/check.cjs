// Takes the place of wget, curl and pg_isready in an image's HEALTHCHECK: ends with 0 if the address in its arguments answers.
const net = require("node:net");

const [program, ...args] = process.argv.slice(2);
const after = (name, otherwise) => (args.includes(name) ? args[args.indexOf(name) + 1] : otherwise);

async function check() {
  if (program === "pg_isready") {
    await new Promise((resolve, reject) => {
      const socket = net.connect(Number(after("-p", "5432")), after("-h", "127.0.0.1"), resolve);
      socket.on("error", reject);
    });
    return true;
  }
  return (await fetch(args.find((arg) => /^https?:/.test(arg)))).ok;
}

check().then(
  (well) => process.exit(well ? 0 : 1),
  () => process.exit(1),
);
