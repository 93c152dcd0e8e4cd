import t from "tap";
import { addressBlock } from "../../lib/client-address-block.ts";

t.test("a client is counted by its IPv4 address, or by the /64 that it has", async (t) => {
  const rows: [address: string, block: string][] = [
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::9", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:db8:1:2::", "2001:db8:1:2::/64"],
    ["::1", "0:0:0:0::/64"],
    ["64:ff9b::192.0.2.1", "64:ff9b:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["1:2:3:4:5:6:7::", "1:2:3:4::/64"],
    ["", ""],
    ["no:address", "no:address"],
  ];
  for (const [address, block] of rows) t.equal(addressBlock(address), block, address);
});
