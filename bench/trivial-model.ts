/** The model server that `npm run bench -- modelserver` measures: twice the row sums, alone and in batches. */
import {
  createModelServer,
  type InferRequest,
  listen,
  type ReturnedTensor,
  V2ModelServer,
} from '../modelserver/index.ts'

class RowSums extends V2ModelServer<InferRequest> {
  override load(): void {}

  override predict({ inputs }: InferRequest): ReturnedTensor[] {
    const [{ shape, data } = { shape: [0], data: new Float64Array() }] = inputs
    const [rows = 0, columns = 1] = shape
    const sums = new Float64Array(rows)
    for (let i = 0; i < data.length; i++) sums[Math.floor(i / columns)]! += 2 * Number(data[i])
    return [{ name: 'output0', shape: [rows], datatype: 'FP64', data: sums }]
  }
}

const server = createModelServer({ protocol: 'oip' })
server.addModel('plain', { class: RowSums, maxQueueSize: 10_000 })
server.addModel('batched', {
  class: RowSums,
  maxQueueSize: 10_000,
  batching: { maxSize: 64, maxDelayMs: 2, adaptive: true },
})
await server.start()
const { host, port, close } = await listen(server)
console.log(JSON.stringify({ msg: 'listening', host, port }))
process.once('SIGTERM', async () => {
  await server.stop()
  await close()
  process.exit(0)
})
