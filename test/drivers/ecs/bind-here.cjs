// Loaded into a task's process first: it then listens at its task's own address, as a container does that has a network of its own.
const { Server } = require("node:net");

const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  return listen.call(
    this,
    { port: Number(port), host: process.env.TASK_ADDRESS },
    rest.find((one) => typeof one === "function"),
  );
};
