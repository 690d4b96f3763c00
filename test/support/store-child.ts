/** A store in a process of its own, driven by messages: the part of stores.ts that can be killed. */
import { codeOf } from '../../contracts/errors.ts'
import { openAt, type Place, type StoreCall } from './store-places.ts'

const { place, options }: { place: Place; options: object } = JSON.parse(process.argv[2] ?? '')
const store = await openAt(place, options)

function call(method: string, args: readonly unknown[]): Promise<unknown> {
  return Reflect.apply(Reflect.get(store, method), store, args)
}

process.on('message', async ({ n, method, args }: { n: number; method: string; args: unknown[] }) => {
  if (method === 'ready') {
    process.send?.({ n })
  } else if (method === 'stall') {
    for (;;);
  } else if (method === 'runAndDie') {
    const [calls, answersBefore] = args as [StoreCall[], number]
    let answers = 0
    const die = () => process.kill(process.pid, 'SIGKILL')
    for (const [name, ...rest] of calls) {
      void call(name, rest).then(() => {
        // The message must be out before the end: it says what has been promised.
        process.send?.({ n: 0 }, () => ++answers === answersBefore && die())
      })
    }
    if (answersBefore === 0) setImmediate(die)
  } else {
    try {
      process.send?.({ n, result: await call(method, args) })
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      process.send?.({ n, error: { message, code: codeOf(error) } })
    }
  }
})
process.on('disconnect', () => process.exit())
