// The page around the picture: what can be switched, and how the session is doing.
import { Picture } from "/picture.js"

const find = (id) => document.getElementById(id)
const embedded = document.body.classList.contains("embed")

const picture = new Picture(embedded ? { after: find("after") } : { after: find("after"), before: find("before"), onState, onPicture, onConnection })
window.kinochrome = picture // for tests and the curious

if (!embedded) {
  find("split").addEventListener("input", slide)
  find("pause").addEventListener("click", () => picture.ask({ op: "pause", on: find("pause").ariaPressed !== "true" }))
  find("snapshot").href = "/snapshot.png" + location.search
  for (const name of ["strength", "saturation", "steady"]) {
    find(name).addEventListener("input", ({ target }) => {
      tell(target)
      picture.ask({ op: "set", [name]: Number(target.value) })
    })
  }
  document.addEventListener("keydown", onKey)
  slide()
}

function slide() {
  const share = Number(find("split").value)
  document.querySelector(".stage").style.setProperty("--split", `${share}%`)
  find("tag-before").hidden = share < 12
  find("tag-after").hidden = share > 88
  if (share > 0 !== picture.comparing) picture.compare(share > 0)
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return
  if (document.body.classList.contains("readonly") && event.key.toLowerCase() !== "s") return
  const typing = event.target.tagName === "INPUT" // arrows move sliders and looks; the space bar does nothing to them
  if (event.key === " " && event.target.tagName === "A") event.target.click()
  else if (event.key === " " && event.target.tagName !== "BUTTON") find("pause").click()
  else if (event.key.toLowerCase() === "s") find("snapshot").click()
  else if (event.key.toLowerCase() === "c") {
    find("split").value = Number(find("split").value) > 0 ? 0 : 50
    slide()
  } else if (event.key.startsWith("Arrow") && !typing) {
    const step = { ArrowLeft: -5, ArrowRight: 5 }[event.key] ?? 0
    find("split").value = Number(find("split").value) + step
    slide()
  } else return
  event.preventDefault()
}

function onConnection(state) {
  const pill = find("connection")
  if (state === "connected") return
  pill.dataset.state = state
  pill.textContent = state === "lost" ? "connection lost, trying again" : "connecting"
}

function onPicture(head, compared) {
  find("notice").hidden = true
  const stage = document.querySelector(".stage")
  stage.style.setProperty("--shape", `${head.width} / ${head.height}`)
  stage.classList.toggle("compared", compared)
}

function onState({ ok, state, error }) {
  if (!ok) return notify(error)
  const { numbers } = state
  document.body.classList.toggle("readonly", Boolean(state.readonly))
  showLooks(state)
  for (const name of ["strength", "saturation", "steady"]) {
    const input = find(name)
    if (state[name] !== undefined && document.activeElement !== input) input.value = state[name]
    tell(input)
  }
  find("strength-row").hidden = state.strength === undefined
  find("pause").ariaPressed = String(state.paused)
  find("pause").textContent = state.paused ? "Go on" : "Pause"
  const pill = find("connection")
  pill.dataset.state = state.paused ? "paused" : numbers.state
  pill.textContent = state.paused ? "paused" : numbers.state
  pill.title = numbers.reason
  find("remark").textContent = numbers.notice
  find("dropped").title = numbers.lost_s ? `${numbers.lost_s} s of the film were not there any more after a break` : ""
  if (numbers.state === "reconnecting" || numbers.state === "stalled") notify(`No picture from ${numbers.source}. ${numbers.reason}`)
  if (numbers.preparing) notify(numbers.preparing) // until the next picture
  find("fps").textContent = numbers.fps.toFixed(1)
  find("latency").textContent = numbers.latency_ms ? `${Math.round(numbers.latency_ms.p50)} ms (p99 ${Math.round(numbers.latency_ms.p99)})` : "–"
  find("dropped").textContent = `${numbers.frames_dropped} of ${numbers.frames_in}`
  find("source").textContent = numbers.source
  find("sinks").replaceChildren(...Object.entries(numbers.sinks).map(([name, sink]) => describe(name, sink)))
}

function showLooks(state) {
  const names = Object.keys(state.looks)
  const box = find("look")
  if (box.dataset.names !== names.join("\n")) {
    box.dataset.names = names.join("\n")
    box.replaceChildren(
      ...names.map((name) => {
        const label = document.createElement("label")
        const input = Object.assign(document.createElement("input"), { type: "radio", name: "look", value: name })
        input.addEventListener("change", () => picture.ask({ op: "set", look: name }))
        const word = document.createElement("span")
        word.textContent = name
        label.append(input, word)
        return label
      }),
    )
  }
  for (const input of box.querySelectorAll("input")) input.checked = input.value === state.look
}

function describe(name, sink) {
  const item = document.createElement("li")
  const dropped = sink.dropped ? `, ${sink.dropped} dropped` : ""
  const again = sink.reconnects ? `, back ${sink.reconnects} times` : ""
  item.textContent = sink.state === "ok" ? `${name}: ${sink.written}${dropped}${again}` : `${name}: ${sink.state}`
  item.classList.toggle("bad", sink.state !== "ok")
  return item
}

function tell(input) {
  input.parentElement.querySelector("output").textContent = `${Math.round(100 * Number(input.value))} %`
}

function notify(text) {
  find("notice").textContent = text
  find("notice").hidden = false
}
