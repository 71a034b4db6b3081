// The live picture over a WebSocket: connects, draws, comes back by itself after a break.

const FIRST_WAIT_MS = 250
const LONGEST_WAIT_MS = 4000

export class Picture {
  constructor({ after, before, onState, onPicture, onConnection }) {
    Object.assign(this, { after, before, onState, onPicture, onConnection })
    this.wait = FIRST_WAIT_MS
    this.comparing = false
    this.shown = 0
    this.connect()
  }

  connect() {
    this.onConnection?.("connecting")
    const address = new URL("/ws" + location.search, location.href)
    address.protocol = address.protocol.replace("http", "ws")
    this.socket = new WebSocket(address)
    this.socket.binaryType = "arraybuffer"
    this.socket.onopen = () => {
      this.wait = FIRST_WAIT_MS
      this.compare(this.comparing)
      this.onConnection?.("connected")
    }
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.onState?.(JSON.parse(data)) : this.draw(data))
    this.socket.onclose = () => {
      this.onConnection?.("lost")
      setTimeout(() => this.connect(), this.wait)
      this.wait = Math.min(2 * this.wait, LONGEST_WAIT_MS)
    }
  }

  send(text) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(text)
  }

  ask(request) {
    this.send(JSON.stringify({ v: 1, ...request }))
  }

  compare(on) {
    this.comparing = on
    this.send(on ? "compare" : "single")
  }

  async draw(data) {
    const length = new DataView(data).getUint32(0)
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)))
    const at = 4 + length
    const jpeg = (start, size) => createImageBitmap(new Blob([new Uint8Array(data, start, size)], { type: "image/jpeg" }))
    try {
      const [after, before] = await Promise.all([
        jpeg(at, head.after),
        this.before && head.before ? jpeg(at + head.after, head.before) : null,
      ])
      paint(this.after, after)
      if (before) paint(this.before, before)
      this.shown += 1
      this.onPicture?.(head, Boolean(before))
    } finally {
      this.send("drawn")
    }
  }
}

function paint(canvas, bitmap) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width
    canvas.height = bitmap.height
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0)
  bitmap.close()
}
