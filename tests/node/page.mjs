// Drives the page in headless Chromium: node page.mjs URL FOLDER; prints one JSON line a step, goes on when told on stdin.
import { createInterface } from "node:readline"
import { chromium } from "playwright-core"

const [url, folder] = process.argv.slice(2)
const told = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const say = (step, facts = {}) => console.log(JSON.stringify({ step, ...facts }))
const shown = (page) => page.evaluate(() => window.kinochrome.shown)
const more = async (page, by = 3) => page.waitForFunction((goal) => window.kinochrome.shown >= goal, (await shown(page)) + by)
const state = (page, words) => page.waitForFunction((w) => document.querySelector("#connection").textContent.includes(w), words)
const pixel = (page, id) =>
  page.evaluate((name) => Array.from(document.getElementById(name).getContext("2d").getImageData(20, 20, 1, 1).data), id)

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
})
const context = await browser.newContext({ viewport: { width: 1280, height: 760 } })
context.setDefaultTimeout(40000)
const page = await context.newPage()
const asked = new Set()
const problems = []
page.on("request", (request) => asked.add(new URL(request.url()).origin))
page.on("pageerror", (error) => problems.push(String(error)))
page.on("console", (line) => line.type() === "error" && !line.text().includes("WebSocket") && problems.push(line.text()))

await page.goto(url)
await more(page, 2)
const first = await pixel(page, "after")
await page.waitForFunction((was) => String(Array.from(document.getElementById("after").getContext("2d").getImageData(20, 20, 1, 1).data)) !== was, String(first))
say("moves")

await page.waitForFunction(() => document.querySelector(".stage").classList.contains("compared"))
const split = () => page.evaluate(() => getComputedStyle(document.getElementById("before")).clipPath)
const before = await split()
await page.locator("#split").focus()
for (let i = 0; i < 20; i++) await page.keyboard.press("ArrowRight")
const stage = await page.locator(".stage").boundingBox()
const value = await page.locator("#split").inputValue()
const after = await split()
await page.mouse.click(stage.x + stage.width * 0.25, stage.y + stage.height / 2)
const clicked = Number(await page.locator("#split").inputValue())
say("slides", { moved: before !== after, value: Number(value), clicked, before: await pixel(page, "before"), after: await pixel(page, "after") })

await page.screenshot({ path: `${folder}/desktop.png` })
const looks = await page.locator("#look label").allTextContents()
const strength = [await page.locator("#strength-row").isVisible()]
await page.locator("#look label").nth(1).click()
await page.locator("#strength-row").waitFor()
strength.push(await page.locator("#strength-row").isVisible())
await page.locator("#saturation").fill("0.5")
await page.waitForFunction(() => document.querySelector("#saturation").parentElement.textContent.includes("50 %"))
say("looks", { looks, strength, remark: await page.locator("#remark:visible").textContent() })
await told.next()
await more(page)

// The space bar holds and goes on wherever the focus is: nowhere, on the slider of the picture, on a look.
const focus = [() => page.evaluate(() => document.activeElement.blur()), () => page.locator("#split").focus(), () => page.locator("#look input:checked").focus()]
for (const put of focus) {
  await put()
  await page.keyboard.press("Space")
  await state(page, "paused")
  await page.keyboard.press("Space")
  await state(page, "live")
}
const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("s")])
await download.saveAs(`${folder}/snapshot.png`)
say("snapshot")

await told.next()
await state(page, "lost")
say("lost")
await told.next()
await page.waitForFunction(() => ["live", "ended"].includes(document.querySelector("#connection").textContent))
await more(page)
say("back", { problems, asked: [...asked] })

// The stage has the picture's shape at every size: what the slider slides over is the picture, not bars beside it.
const bars = []
for (const [width, height] of [[1280, 760], [844, 390], [390, 844]]) {
  await page.setViewportSize({ width, height })
  const box = await page.locator(".stage").boundingBox()
  const canvas = await page.evaluate(() => ((c) => c.width / c.height)(document.getElementById("after")))
  bars.push(Math.round(Math.abs(box.width - box.height * canvas) / 2))
}
await page.setViewportSize({ width: 1280, height: 760 })
say("sizes", { bars })

// What only takes long is said until the next picture, and who may switch nothing is told of no keys for it.
const words = await page.evaluate(async () => {
  const state = await (await fetch("/state")).json()
  const told = (more) => {
    window.kinochrome.onState({ ok: true, state: { ...state, ...more } })
    return [document.querySelector("#notice").innerText, document.querySelector(".hint").innerText]
  }
  return [told({ numbers: { ...state.numbers, preparing: "preparing the network" } })[0], told({ readonly: true })[1]]
})
say("words", { words })

await page.emulateMedia({ colorScheme: "dark" })
await page.screenshot({ path: `${folder}/dark.png` })
await page.setViewportSize({ width: 390, height: 844 })
await page.emulateMedia({ colorScheme: "light" })
await page.screenshot({ path: `${folder}/phone.png`, fullPage: true })
const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)
await page.goto(new URL("/embed", url).href)
await page.waitForFunction(() => window.kinochrome?.shown > 1)
await page.setViewportSize({ width: 640, height: 480 })
await page.screenshot({ path: `${folder}/embed.png` })
say("quiet", { problems })
const rest = await page.evaluate(() => document.body.innerText.trim())
say("embed", { rest, wide })
await browser.close()
process.exit(0)
