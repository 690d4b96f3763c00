/** A caller that sends far more than it may, and goes on after its answer. */
import { connect } from 'node:net'
import { onTestFinished } from 'vitest'

/** `asked` is method and path. Resolves once the server has closed the connection; the answer may be lost by then. */
export function flood(port: number, asked: string): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.write(`${asked} HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n`)
  socket.write('x'.repeat(10_000_000))
  return new Promise((resolve) => {
    // Cut in the middle of what it sends, which is no fault here.
    socket.on('error', () => undefined).on('close', () => resolve())
    socket.resume()
  })
}
