/** One line on a terminal that is drawn again and again with the seconds behind it; silent where there is no terminal. */

export interface LiveLine {
  say(text: string): void
  end(): void
}

const everyMs = 100

export function liveLine(stream: NodeJS.WriteStream = process.stderr): LiveLine {
  if (!stream.isTTY) return { say: () => undefined, end: () => undefined }
  const began = performance.now()
  let text = ''
  let hasEnded = false
  const draw = () => {
    const seconds = ` ${((performance.now() - began) / 1000).toFixed(1)} s`
    // A line that wraps cannot be drawn over.
    const room = (stream.columns || 80) - seconds.length - 1
    stream.write(`\r\x1b[K${text.length > room ? `${text.slice(0, room - 1)}…` : text}${seconds}`)
  }
  const timer = setInterval(draw, everyMs)
  return {
    say(next) {
      if (hasEnded) return
      text = next
      draw()
    },
    end() {
      if (hasEnded) return
      hasEnded = true
      clearInterval(timer)
      stream.write('\r\x1b[K')
    },
  }
}
