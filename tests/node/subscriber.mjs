// A subscriber in another language, written from docs/wire.md alone: node subscriber.mjs ADDRESS COUNT
import { Subscriber } from "zeromq"

const [address, count] = process.argv.slice(2)
const socket = new Subscriber({ receiveHighWaterMark: 4, maxMessageSize: 1 << 26, linger: 0 })
socket.connect(address)
socket.subscribe("frame")
socket.subscribe("heartbeat")

let last = null
const seen = []
for await (const [topic, head, ...planes] of socket) {
  const header = JSON.parse(head.toString("utf8"))
  if (header.schema !== "kinochrome/1" || header.topic !== topic.toString()) throw new Error("not ours")
  if (header.topic === "heartbeat") continue
  const [across, down] = header.subsampling
  const bytes = header.depth > 8 ? 2 : 1
  const columns = [header.width, Math.ceil(header.width / 2 ** across), Math.ceil(header.width / 2 ** across)]
  const rows = [header.height, Math.ceil(header.height / 2 ** down), Math.ceil(header.height / 2 ** down)]
  planes.forEach((plane, i) => {
    if (header.strides[i] < columns[i] * bytes || plane.length !== header.strides[i] * rows[i]) throw new Error("size")
  })
  const seq = BigInt(header.seq)
  const lost = last === null ? 0n : seq - last - 1n
  last = seq
  seen.push({ seq: header.seq, pts: header.pts, lost: Number(lost), first: planes.map((plane) => plane[0]) })
  if (seen.length === Number(count)) break
}
console.log(JSON.stringify(seen))
process.exit(0)
