/** A candidate that does to a validation what the environment says: when it loads, what it answers, when it dies. */
import { appendFileSync, existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

const {
  PORT,
  MODEL_NAME = 'candidate',
  LOAD_MS = '0',
  EXIT_AFTER_MS,
  ON_INFER = 'ok',
  ON_TERM = 'exit',
  SAY,
  CALLS,
  // Until the file UNTIL exists: `ready` it is not ready, `term` it ignores SIGTERM, else no answer to ids that begin so.
  HOLD,
  UNTIL,
} = process.env
const isHeld = () => !existsSync(UNTIL)
const began = performance.now()
console.log(`candidate on port ${PORT}`)
if (SAY) setInterval(() => console.error(SAY), 50)
if (EXIT_AFTER_MS) setTimeout(() => process.exit(7), Number(EXIT_AFTER_MS))
process.on('SIGTERM', () => {
  if (ON_TERM === 'exit' && !(HOLD === 'term' && isHeld())) process.exit(0)
  else console.log('SIGTERM ignored')
})

const server = createServer(async (request, response) => {
  const answer = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  }
  let text = ''
  for await (const chunk of request) text += chunk
  const path = request.url ?? ''
  if (path.endsWith('/ready')) {
    const isLoading = performance.now() - began < Number(LOAD_MS) || (HOLD === 'ready' && isHeld())
    return answer(isLoading ? 503 : 200, {})
  }
  if (path !== `/v2/models/${MODEL_NAME}/infer`) return answer(404, { error: `no ${path}` })
  const { id, inputs } = JSON.parse(text)
  if (CALLS) appendFileSync(CALLS, `${id}\n`)
  while (HOLD && id.startsWith(HOLD) && isHeld()) await delay(20)
  if (ON_INFER === 'hang') return
  if (ON_INFER === 'exit') process.exit(9)
  if (ON_INFER === 'error') return answer(500, { error: 'the model fell over' })
  const slow = /^slow:(\d+)$/.exec(ON_INFER)?.[1]
  if (slow) await delay(Number(slow))
  const data = inputs[0].data.flat(9).map((value) => value * 2)
  answer(200, { id, outputs: [{ name: 'doubled', shape: [data.length], datatype: 'FP64', data }] })
})
if (ON_INFER !== 'no-port') server.listen(Number(PORT), '127.0.0.1')
