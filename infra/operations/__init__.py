"""Operations on rejected events, dead letters, the directory and revoked tokens."""
