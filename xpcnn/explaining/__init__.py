"""Operations explained with their numbers, as text, as HTML and as moving pictures."""
